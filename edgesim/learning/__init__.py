"""Everything that needs torch: models, the profiler, the live timer."""
