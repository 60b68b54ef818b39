"""``python -m natscope``."""

import sys

from natscope.cli import main

sys.exit(main())
