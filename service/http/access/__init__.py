"""One guard before every way into the service. It checks keys and listener tokens, and limits the rate of requests."""
