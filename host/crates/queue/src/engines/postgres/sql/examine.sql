-- Who answers: its process, whether it only reads, and the character sets of both ends.
SELECT pg_backend_pid(), pg_is_in_recovery(), current_setting('server_encoding'), current_setting('client_encoding')
