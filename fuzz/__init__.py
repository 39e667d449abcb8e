"""Fuzz targets, one file each, run by `make fuzz`; `tests/fuzz` gives each target the seeds in `tests/fuzz_seeds`.

A target has `run(data)`: it hands any bytes to a part of the product that reads what others wrote. Whatever that part documents
may be raised there is expected; anything else leaves `run`, and is a finding.
"""

TARGETS = ("photos", "requests", "protocol_lines", "views_folders")
