"""What is beneath the apps of both listeners, the API's and Link's: the server, the head of a request, its body."""
