"""What things are. Standard library only: values, errors and the ports that `hermes.app` fills."""
