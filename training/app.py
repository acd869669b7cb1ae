"""How every script starts: absl flags, and errors that are one line.

The original parsed flags in a mode that ignores what it does not know, so that `--dopredict=true` or
`--do_train False` did something else than was typed. Here both are errors.
"""

import contextlib
import logging as standard_logging
import math
import os
import sys
import tempfile
import traceback

from absl import app, flags, logging

from training.preemption import Preempted

FLAGS = flags.FLAGS

NON_FINITE_LOSS = 17
PREEMPTED = 42
WORKER_LOST = 43


@contextlib.contextmanager
def _silenced_stderr():
    """Keeps what is written to file descriptor 2 for the case of an exception."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(stderr, kept.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


# TensorFlow 2.21 prints start-up lines that no log level hides. They come back with TF_CPP_MIN_LOG_LEVEL=0.
if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1") != "0":
    with _silenced_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()


class _Formatter(standard_logging.Formatter):
    """Time and message; what is more than information says its level."""

    def format(self, record):
        level = f"{record.levelname.lower()}: " if record.levelno > standard_logging.INFO else ""
        return f"{self.formatTime(record, '%H:%M:%S')} {level}{record.getMessage()}"


def run(main) -> None:
    """Parses the command line, calls `main()` and exits.

    Args:
      main: function without arguments. A ValueError or OSError that it raises is taken for bad input: it is shown
        as one line on stderr, exit status 1; its traceback only with `--debug`. A FloatingPointError (a loss that is
        not finite) exits with 17, a run that was asked to stop and has saved with 42, one of several workers that
        lost another with 43. Any other exception keeps its traceback, because it is a defect of ours.
    """
    flags.DEFINE_bool("debug", False, "Show the traceback of an error instead of one line.")
    _show_in_help()
    logging.use_absl_handler()
    logging.get_absl_handler().setFormatter(_Formatter())
    app.run(lambda argv: _call(main), flags_parser=_parse)


def _show_in_help() -> None:
    """Makes `--help` list the flags that modules of the project declare, beside those of the script itself."""
    for module, declared in FLAGS.flags_by_module_dict().items():
        if module.partition(".")[0] in ("training", "pretraining", "finetuning"):
            for flag in declared:
                FLAGS.register_key_flag_for_module(sys.argv[0], flag)


def _parse(argv):
    try:
        rest = FLAGS(argv)
    except flags.Error as error:
        _exit(" ".join(str(error).split()) + " (--help lists the flags)")
    for name in FLAGS:
        value = FLAGS[name].value
        if isinstance(value, float) and not math.isfinite(value):
            _exit(f"--{name}={value}: give a finite number")
    if len(rest) > 1:
        _exit(
            f"unexpected argument {rest[1]!r}: flags are written --name=value, and a boolean as "
            "--do_train=false or --nodo_train"
        )
    logging.set_verbosity(max(logging.get_verbosity(), logging.INFO))
    return rest


def _call(main) -> None:
    try:
        main()
    except FloatingPointError as error:
        _exit(str(error), status=NON_FINITE_LOSS)
    except Preempted as error:
        _exit(str(error), status=PREEMPTED)
    except (ValueError, OSError) as error:
        _exit(str(error))
    except Exception as error:
        from training.workers import lost_worker  # not above: it imports TensorFlow

        reason = lost_worker(error)
        if not reason:
            raise
        _exit(
            f"a worker was lost ({reason}): start all workers again, the run goes on from its last checkpoint",
            status=WORKER_LOST,
        )


def _exit(message: str, status: int = 1) -> None:
    if FLAGS.is_parsed() and FLAGS.debug:
        traceback.print_exc()
    print(message if status == PREEMPTED else f"error: {message}", file=sys.stderr)
    sys.exit(status)
