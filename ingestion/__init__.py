"""From a shop's app to the warehouse's raw tables: collector, log, lander, lake, loader and their audit."""
