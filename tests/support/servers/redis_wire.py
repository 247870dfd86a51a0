"""A Redis command as bytes (RESP)."""


def command(*words: str) -> bytes:
    """The array of bulk strings that every Redis understands, whatever the words hold."""
    encoded = [word.encode() for word in words]
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)
