"""The pages of Link for a browser: empty of data, which their scripts ask for."""
