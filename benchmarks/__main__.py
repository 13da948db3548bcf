"""``python -m benchmarks``: all comparisons in one go, as ``coursekit bench``."""

import sys

from coursekit import bench

sys.exit(bench.main())
