"""The exercises, one a file; each file defines `EXERCISE` and is found by being here."""
