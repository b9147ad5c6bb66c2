"""The form of files of API keys, which the service reads for its own keys and a client for the key that it presents."""


def key_entries(text: str) -> list[str]:
    """Return the entries of a text of keys, separated by commas or line ends. Blank lines and comment lines (#) are none."""
    lines = [line for line in text.split("\n") if not line.lstrip().startswith("#")]
    return [entry for line in lines for part in line.split(",") if (entry := part.strip())]
