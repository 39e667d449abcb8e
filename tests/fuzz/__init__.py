"""The fuzz targets, with every seed that is kept in `tests/fuzz_seeds`: what fuzzing found stays mended."""
