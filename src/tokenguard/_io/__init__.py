"""The only room with sockets, threads and event loops: the drivers and the bounds of an HTTP exchange."""
