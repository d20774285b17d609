"""How numbers, names and what stands between them look on a line of a log."""

from __future__ import annotations

import re

NUMBER = re.compile(
    r"(?<![\w@.^])(?<![\w)]-)(?<!\w\+)[-+]?"
    r"(?:(?:0,\d+|(?<!\d,)[1-9]\d*,(?:\d\d|\d{4,}))(?![\d.])(?!,\d)"  # a decimal comma: 0,95 and 2,3263, not 1,234
    r"|(?:(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|(?i:nan|inf(?:inity)?)\b)"
)
WHOLE = re.compile(r"[-+]?(?:\d+|[1-9]\d{0,2}(?:,\d{3})+)")
# What looks like numbers or names and is neither; blanked out so that places on the line stay what they are.
NOISE = re.compile(
    r"""
    \b[IWEFD]\d{4}\s\d\d:\d\d:\d\d\.\d+\s+\d+\s[^\s\]]+\]                           # glog
    | \d{4}[-/.]\d\d?[-/.]\d\d?(?:[T_\s]\d\d?[:-]\d\d(?:[:-]\d\d)?)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?
    | \b\d\d/\d\d\s\d\d:\d\d:\d\d\b                                             # 01/31 10:00:00
    | \b\d\d?[-/](?:\d\d?|[A-Z][a-z]{2})[-/]\d{2,4}\b                               # 21/10/2024
    | \b(?:\d+\s?(?:d|days?),?\s+)?\d+:\d\d(?::\d\d)?(?:[.,]\d+)?\b(?!:)            # 0:12, 1:02:03.5
    | \b(?:INFO|DEBUG|WARNING|WARN|ERROR|CRITICAL|Level\s\d+)\b(?:[:|])?(?:root:)?  # logging
    | [\w.<>/-]*\w\.(?:py|cc|cpp|cu|h|rs|go):\d+(?:\])?                             # train.py:148]
    | (?:https?|file|s3|gs|tcp)://\S+
    | (?<![\w.])(?:~|\.{1,2})?/[\w.@~+-]+/[^\s,;:'")\]]*                            # /a/path
    | \b\d+\.\d+\.\d+[\w.+-]*                                                       # 1.2.3
    | \b0x[0-9a-fA-F]+
    | (?:±|\+/-|\+-|\\pm)\s*[\d.]+(?:[eE][-+]?\d+)?%?                               # the spread after a mean
    | \b\d+(?:\.\d+)?%\|[^|]*\|                                                     # 45%|####      |
    | [\u2500-\u257f\u2580-\u259f\u2800-\u28ff]{2,}                                 # bars drawn in blocks
    | \[[=>.\s\#-]*[=>\#][=>.\s\#-]*\]                                              # [====>....]
    | \((?=[^()\d]*[A-Za-z]\s*=?\s+\d)[^()\d]*\d+[^()\d]{0,12}\)(?=\s*[:=])              # Reward (last 50):
    | [\u2300-\u23ff\u2600-\u27bf\u2b00-\u2bff\ufe0f\U0001f000-\U0001faff]+         # pictures
    """,
    re.VERBOSE,
)
COUNTED = re.compile(  # "train loss after 8 epochs: 0.1", "Accuracy of the network on the 10000 test images: 98 %"
    r"\b(after|on|over|at|for|of|in|from|across)\s+(?:the\s+)?(?:first\s+|last\s+|all\s+|global[\s_-]|training\s+)?"
    r"(?:(epoch|step|iteration|iter|episode|round|update|generation|batch)\s+)?"
    r"(\d[\d,]*)((?:\s+[^\W\d][\w-]*){0,3}?)(?(2)(?=\s*(?:[:=|,;>)-]|is\b|was\b|$))|(?=\s*(?:[:=]|is\b|was\b)))",
    re.IGNORECASE,
)
TOP = re.compile(r"\b([Tt]op)[ -](?=\d)")
SHORT = re.compile(r"\b(Avg|avg|Val|val|Acc|acc|Std|std|Tr|Err|err)\.(?=\s)")

BAR = re.compile(r"\d+%\|[^|]*\||\[[=>.\s]*[=>][=>.\s]*\]")  # 45%|###  |, [===>...]

# Between a name and its number.
SEPARATOR = re.compile(r"(?:[:=：＝]+>?|->|→)\s*$")
LINK = re.compile(r"\b(?:is|was|of|to|reached|equals)\s*[:=]?\s*$", re.IGNORECASE)
CALL = re.compile(r"(?:\btensor|\barray|\bfloat\d*|\bnp\.\w+|\bnumpy\.\w+|\bArray|\bDeviceArray|\bTensor)$")
UNIT = re.compile(r"\(([^()]{1,24})\)$")  # PSNR (dB): 30.1
# What ends a name to the left.
CUT = re.compile(
    r"[,;|(){}\[\]<>│┃║•·!?。,；、\t\n&]|\s[-–—*/]+\s|\s{2,}|(?<=\S)[:=：＝]+(?=\s|$)|[-=*#~_.]{2,}|[.…](?=\s|$)"
    r"|(?<=\W)-(?=\s)|(?<=\w)[:=](?=[^\W\d])|：(?=\S)"
)
FROM = re.compile(r"\b(?:from|to|below|above|than|by|until|threshold)\b", re.IGNORECASE)
LEADING = re.compile(r"(?:with|and|at|for|of|on|in|by|has|have|had|got|to|from)\s+", re.IGNORECASE)
PREPOSITION = re.compile(
    r"\s(?:of|on|after|at|for|over|in|from|with|across|using|against|between|sur|auf|bei)\s", re.IGNORECASE
)

ONE_WORD = re.compile(r"[^\W\d][\w/@-]*").fullmatch

# After a number.
INDEX = re.compile(r"\)?\s*[:=]\s*[-+.\d]")
NEXT = re.compile(r"\s*(?:[|,;]|-\s|$)")  # a cell ends here
UNITS = re.compile(
    r"\s?(?:[smhd]|ms|us|µs|ns|secs?|seconds?|mins?|minutes?|hrs?|hours?|days?|it/s|s/it|[kKMGT]i?B?|B|bytes|[Hh]z|fps|FPS"
    r"|px|W|\w+/(?:s|sec|second|step|it|batch|epoch|min|h|hour)|params|parameters|samples|examples|images|tokens|files"
    r"|秒|分钟|小时)(?![\w:=/])"
)
ATTACHED = re.compile(r"(?!dB\b)(?:[^\W\d]|[@#]|\.\d|-\d|:\d)")
REST = re.compile(r"\s?[^\s,;|)\]}]*")
RATIO = re.compile(r"\s?/\s?(\d+)(?![\w.]*\d)(?:\s*\(\s*([-+]?\d+(?:\.\d+)?)\s*%\s*\))?")
OF = re.compile(r"\s*(?:/|\bof\b|\bout of\b|\bsur\b|\bvon\b|\bde\b|\bиз\b)\s*(\d[\d,]*)(?![\w.]*\d)")
AFTER_STEP = re.compile(
    r"\s*(?:st|nd|rd|th)?\s*((?:epochs?|steps?|iterations?|iters?|updates?)\b|轮|个?epoch|回合|步|エポック|에포크)",
    re.IGNORECASE,
)

# Dumps of settings.
DUMP = re.compile(
    r"\b(?:Namespace|Config(?:uration)?|Arguments|Args|HParams|Hparams|Params|dict|OmegaConf|Box|AttrDict|EasyDict|CfgNode)\("
    r"|^\W*(?:\w+\s){0,2}(?:args|arguments|config|configuration|hparams|hyper[- ]?param\w*|params|parameters|settings"
    r"|options|flags)\s*[:=({\[]",
    re.IGNORECASE,
)
NOT_NUMBERS = re.compile(r"['\"]?[:=]\s*(?:None|null|True|False|true|false|['\"](?![-+.\d]))")
CONFIG_KEY = re.compile(
    r"['\"]?\w*(?:config|params|hparams|args|parameters|settings|options|kwargs)\w*['\"]?\s*[:=]\s*$", re.IGNORECASE
)
KEY = re.compile(r"['\"]?([\w./@-]+)['\"]?\s*[:=]\s*$")
REPR = re.compile(r"\b[A-Z]\w*\((?:[A-Za-z_]\w*=|$)")

COCO = re.compile(  # the summary of pycocotools
    r"Average (Precision|Recall)\s+\(A[PR]\) @\[ IoU=([\d.]+)(:[\d.]+)?\s*"
    r"\| area=\s*(\w+) \| maxDets=\s*(\d+) \] = (-?[\d.]+)"
)
AT = re.compile(  # "Prec@(1,5) (94.2%, 99.8%)"
    r"([^\W\d]\w*)@\((\d+(?:,\s?\d+)+)\)\s*[:=]?\s*[\[(]?\s*((?:[-+]?[\d.]+%?\s?[|/,]\s?)+[-+]?[\d.]+)"
)
DARKNET = re.compile(r"^\s*(\d+): (-?[\d.]+|-?nan), (-?[\d.]+|-?nan) avg(?: loss)?, ([\d.]+) rate,")
LABEL = re.compile(
    r"\W*([^\W\d][\w-]*(?:\s[^\W\d][\w-]*)?)(?::\s+(?=[^\W\d])|\s+[A-Za-z]\w*=\s*\d|\]\s)"
)  # what a line begins with
JOINT = re.compile(  # "acc|logloss = 0.78|0.47", "loss, acc: 0.3, 0.9"
    r"(?<![\w|/,])((?:[^\W\d][\w-]{0,30}\s?[|/,]\s?)+[^\W\d][\w-]{0,30})[)\]]?\s*[:=]\s*[\[(]?\s*"
    r"((?:[-+]?[\d.]+(?:[eE][-+]?\d+)?%?\s?[|/,]\s?)+[-+]?[\d.]+(?:[eE][-+]?\d+)?)"
)
