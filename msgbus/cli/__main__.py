"""``python -m msgbus.cli``."""

import sys

from msgbus.cli import main

sys.exit(main())
