"""What the process does that tests fork commands from: import their packages, once."""

import preloaded

preloaded.preload()
