"""Stands for the underwriter's system: prints what it is sent, and wants a token."""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer


class Webhook(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        allowed = (self.headers.get("Authorization") or "").startswith("Bearer ")
        print("webhook:", "notified of" if allowed else "no token:", body.decode(), flush=True)
        answer = json.dumps({"case": 4711}).encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", 8081), Webhook).serve_forever()
