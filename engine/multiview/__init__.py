"""The four-view generator: from a prompt, or from fewer photos, to four orthogonal views."""
