"""The models as files and in memory: `registry` lists the shipped files and hashes, `loading` loads and caches them."""
