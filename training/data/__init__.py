"""From a log in any format to histories: reading, checking, writing, splitting, and sequences."""
