"""The models as files and in memory: `registry` knows what ships and its hashes, `loading` reads and keeps it."""
