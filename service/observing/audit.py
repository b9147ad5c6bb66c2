"""The audit log: deleted listeners and take-downs. It is written at every log level."""

import logging

import structlog

audit = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
