"""``python -m grufast`` is the command ``grufast``."""

import sys

from grufast.cli import main

sys.exit(main())
