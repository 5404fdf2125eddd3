"""The kinds of processor: declaring one in a module of this folder is registering it."""

from dd_core.kind import import_kinds

import_kinds(__name__, __path__)
