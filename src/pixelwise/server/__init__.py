"""Serve models: REST and a web page, `pixelwise serve MODEL`.

    settings     what is allowed: addresses, limits, times
    refusals     everything that is refused, in one table of codes
    protocol     connections: slow clients are closed
    guard        around every request: hosts, token, headers, one line of log
    uploads      bodies, read within limits
    screening    what a file is, by its bytes; files that are two things at once are refused
    pictures     from bytes to pixels, never by a client's path
    jobs         the bounded queue, and the threads that decode and predict
    batches      pictures of one size through the network together
    answers      what is sent back: PNG and JSON
    corrections  pairs that people painted, for `pixelwise fit`
    app          the routes;  running: the process;  client: the other side

Needs `pip install 'pixelwise[serve]'`; the client does not.
"""
