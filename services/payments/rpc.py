"""The servicer: parse, call, answer. Nothing is decided here."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from teppan.payments.v1 import payments_pb2 as pb
from teppan.payments.v1 import payments_pb2_grpc

from ids import parsed
from pages import Tokens
from payments.usecases import Payments
from payments.wire import listing
from payments.wire import payments as wire
from rpccommon.paging import limited
from rpccommon.present import caller

Context = Any
"""A grpc.aio.ServicerContext; nothing here uses it."""


class PaymentsServicer(payments_pb2_grpc.PaymentsServiceServicer):
    """PaymentsService."""

    def __init__(self, payments: Payments, tokens: Tokens) -> None:
        """Takes its use cases, and what signs page tokens."""
        self._payments = payments
        self._tokens = tokens

    async def CreatePayment(self, request: pb.CreatePaymentRequest, context: Context) -> pb.CreatePaymentResponse:
        """Takes money."""
        wanted = wire.new_payment_from_pb(request)
        payment = await self._payments.create(caller(), wanted, request_id=UUID(request.request_id))
        return pb.CreatePaymentResponse(payment=wire.payment_to_pb(payment))

    async def GetPayment(self, request: pb.GetPaymentRequest, context: Context) -> pb.GetPaymentResponse:
        """Reads one."""
        payment = await self._payments.get(parsed(request.station_id), UUID(request.payment_id))
        return pb.GetPaymentResponse(payment=wire.payment_to_pb(payment))

    async def ListPayments(self, request: pb.ListPaymentsRequest, context: Context) -> AsyncIterator[pb.ListPaymentsResponse]:
        """Streams pages, at most `page_limit` of them."""
        pager = listing.pager_of(request, self._tokens)
        pages = self._payments.pages(listing.list_query_from_pb(request, pager))
        async with aclosing(limited(pages, lambda page: listing.page_to_pb(page, pager), request.page_limit)) as messages:
            async for message in messages:
                yield message
