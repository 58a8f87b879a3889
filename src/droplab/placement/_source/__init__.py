"""The same edit in the user's own file, as plain torch; private, behind `source_patch`."""
