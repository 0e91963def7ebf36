"""Cameras on the loopback address: a web server and an RTSP server that send H.264 and break off as told."""

import socketserver
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction

import numpy as np

MTU = 1200
HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\nConnection: close\r\n\r\n"


def encoded(frames: Sequence[np.ndarray], rate: int = 25) -> list[tuple[int, bytes]]:
    """Time in ticks of 90 kHz and H.264 bytes (Annex B, parameters before each key frame) of each frame."""
    import av

    codec = av.CodecContext.create("libx264", "w")
    codec.height, codec.width = frames[0].shape[:2]
    codec.pix_fmt, codec.time_base, codec.framerate = "yuv420p", Fraction(1, rate), Fraction(rate)
    codec.options = {"tune": "zerolatency", "crf": "10", "g": "5"}
    sent = []
    for at, image in enumerate(frames):
        shown = av.VideoFrame.from_ndarray(image, format="rgb24")
        shown.pts = at
        sent += [(at * 90_000 // rate, bytes(packet)) for packet in codec.encode(shown)]
    return sent


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True


@contextmanager
def _listening(handler: type) -> Iterator[str]:
    with _Server(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()


@contextmanager
def web_camera(answers: Sequence[bytes]) -> Iterator[str]:
    """The address of a stream of unknown length: each request is sent the next of these and cut off; behind
    the last there is nothing any more.
    """
    left = list(answers)

    class Camera(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            if not left:
                self.wfile.write(b"HTTP/1.0 404 Not Found\r\n\r\n")
                return
            self.wfile.write(HEAD + left.pop(0))

    with _listening(Camera) as host:
        yield f"http://{host}/live.ts"


@contextmanager
def rtsp_camera(
    sent: Sequence[tuple[int, bytes]], plays: int = 1, pause: float = 0.04, silent: bool = False
) -> Iterator[str]:
    """The address of an RTSP server, RFC 2326, that sends these frames within its connection, RFC 6184.

    Args:
        sent: as of `encoded`.
        plays: how often it sends them; behind that it hangs up at once.
        pause: seconds between two frames.
        silent: behind the last one the connection stays open, and else is closed.
    """
    ended, left = threading.Event(), [None] * plays

    class Camera(socketserver.StreamRequestHandler):
        def handle(self):
            while left and (request := self.rfile.readline().split()):
                heads = {}
                while line := self.rfile.readline().strip():
                    name, _, value = line.partition(b":")
                    heads[name.lower()] = value.strip()
                self.answer(request[0].decode(), heads)
                if request[0] == b"PLAY":
                    self.play()
                    return

        def answer(self, method, heads):
            body, more = b"", b"Session: 1\r\n"
            if method == "OPTIONS":
                more = b"Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n"
            if method == "DESCRIBE":
                body = (
                    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                    b"a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:film\r\n"
                )
                more = b"Content-Type: application/sdp\r\nContent-Length: %d\r\n" % len(body)
            if method == "SETUP":
                more += b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            self.wfile.write(b"RTSP/1.0 200 OK\r\nCSeq: " + heads[b"cseq"] + b"\r\n" + more + b"\r\n" + body)

        def play(self):
            left.pop()
            number = 0
            for ticks, data in sent:
                units = [unit for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
                parts = [part for unit in units for part in _parts(unit)]
                for at, part in enumerate(parts):
                    last = at == len(parts) - 1
                    head = struct.pack(">BBHII", 0x80, 96 | last << 7, number & 0xFFFF, ticks, 1)
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(head + part)) + head + part)
                    number += 1
                ended.wait(pause)
            if silent:
                ended.wait(60)

    with _listening(Camera) as host:
        try:
            yield f"rtsp://{host}/live"
        finally:
            ended.set()


def _parts(unit: bytes) -> Iterator[bytes]:
    """A NAL unit as payloads of RTP: whole, or in pieces (FU-A)."""
    if len(unit) <= MTU:
        yield unit
        return
    for at in range(1, len(unit), MTU):
        first, last = at == 1, at + MTU >= len(unit)
        yield bytes((unit[0] & 0xE0 | 28, first << 7 | last << 6 | unit[0] & 0x1F)) + unit[at : at + MTU]
