"""The command line shows what the library logs; alone, the library leaves that to whoever uses it."""

import logging
import sys

from dfd.cli.logs import logs_on_stderr


def test_messages_are_plain_lines_and_only_warnings_say_their_level(capsys):
    logger = logging.getLogger("dfd.some.module")
    with logs_on_stderr():
        logger.debug("not shown")
        logger.info("Drawing %d faces", 3)
        logger.warning("left out: %s", "a\x1b[2J.jpg")
    assert capsys.readouterr().err == "Drawing 3 faces\nWARNING: left out: a\\x1b[2J.jpg\n"


def test_a_message_goes_where_stderr_points_at_that_moment(capsys, monkeypatch, tmp_path):
    with logs_on_stderr(), open(tmp_path / "err", "w") as other:
        monkeypatch.setattr(sys, "stderr", other)
        logging.getLogger("dfd").info("said")
    assert (tmp_path / "err").read_text() == "said\n" and not capsys.readouterr().err


def test_afterwards_logging_is_as_it_was(caplog):
    logger = logging.getLogger("dfd")
    before = logger.level, logger.propagate, list(logger.handlers)
    with logs_on_stderr():
        logger.warning("once")
    assert (logger.level, logger.propagate, logger.handlers) == before
    logger.warning("twice")
    # of dfd: threads of W&B that an earlier test left may speak too
    heard = [record.message for record in caplog.records if record.name == "dfd"]
    assert heard == ["twice"], "nobody else prints what was said on stderr"
