"""The user's words: YAML into frozen, checked values."""
