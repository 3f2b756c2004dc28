"""How bytes and requests get in and out of the process: the HTTP protocol, its log, the workers."""
