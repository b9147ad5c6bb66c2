# Redis with this project's configuration. The data folder belongs to the user that Redis runs as, and so does a new volume
# there: Redis needs no capability to take it over, as it would with the base image's own start script.
FROM redis:7-alpine
COPY docker/redis.conf /etc/redis/redis.conf
RUN chmod a+rx /etc/redis && chmod a+r /etc/redis/redis.conf && mkdir -p /srv/redis && chown 999:1000 /srv/redis
USER 999:1000
WORKDIR /srv/redis
ENTRYPOINT []
CMD ["redis-server", "/etc/redis/redis.conf"]
