"""`python -m georefer`."""

import sys

from georefer.cli import main

sys.exit(main())
