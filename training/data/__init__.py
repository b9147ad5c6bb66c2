"""From a log in any format to histories: reading, checking, writing, cutting into parts and sequences."""
