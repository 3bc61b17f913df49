# SPDX-License-Identifier: Apache-2.0
"""A server of gRPC that knows nobody; it prints its port, and ends when its input does."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc


class Refuses(grpc.GenericRpcHandler):
    def service(self, handler_call_details):
        def refuse(_request, context):
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")

        return grpc.unary_unary_rpc_method_handler(refuse)


server = grpc.server(ThreadPoolExecutor(1), [Refuses()])
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.read()
server.stop(0)
