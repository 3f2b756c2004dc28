"""The command line: how an operator serves, and makes users, organisations and tokens."""
