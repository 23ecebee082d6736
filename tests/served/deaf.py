"""A process that says where it is and then does not listen."""

import threading

print("here", flush=True)
threading.Event().wait()
