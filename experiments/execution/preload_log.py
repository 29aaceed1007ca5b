"""Importing this module sends the process's standard streams to the file that PRELOAD_LOG names.

The forkserver preloads it before the frameworks, so that their banners reach a log and not the terminal, and so that
it is gone when its parent is: left to themselves, frameworks take seconds to be torn down. Nothing that it imports is
garbage, and to look for some takes a fifth of the time: a fork looks again, but at its own.
"""

import atexit
import gc
import os

PRELOAD_LOG = "TANDEM_PRELOAD_LOG"

if PRELOAD_LOG in os.environ:
    _log = os.open(os.environ[PRELOAD_LOG], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(_log, 1)
    os.dup2(_log, 2)
    os.close(_log)
    gc.disable()
    atexit.register(os._exit, 0)  # the first that is registered runs last; a fork has no such functions
