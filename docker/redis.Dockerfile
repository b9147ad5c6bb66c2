# Redis with this project's configuration. The data folder belongs to the user that Redis runs as, and so does a new volume
# there: Redis needs no capability to take it over, as it would with the base image's own start script.
FROM redis:7-alpine
RUN mkdir -p /srv/redis && chown 999:1000 /srv/redis
COPY docker/redis.conf /etc/redis/redis.conf
USER 999:1000
WORKDIR /srv/redis
ENTRYPOINT []
CMD ["redis-server", "/etc/redis/redis.conf"]
