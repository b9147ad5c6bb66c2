"""What the service keeps in Redis: sessions, the connections to it, and the embedded Valkey server."""
