"""The models as files and in memory: `registry` lists what ships, `integrity` loads networks whole, `loading` keeps them."""
