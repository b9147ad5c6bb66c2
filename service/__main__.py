"""`python -m service`, see `service.command`."""

import signal

if __name__ == "__main__":
    # The import takes a second. Python's own handler would end it with a traceback at Ctrl-C; the system's ends it quietly.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from service.command import main

    main()
