"""How numbers, names and what stands between them look on a line of a log."""

from __future__ import annotations

import re

NUMBER = re.compile(
    r"(?=[-+.\dnNiI])(?<![\w@.^])(?<![\w)]-)(?<!\w\+)[-+]?"
    r"(?:(?:0,\d+|(?<!\d,)[1-9]\d*,(?:\d\d|\d{4,}))(?![\d.])(?!,\d)"  # a decimal comma: 0,95 and 2,3263, not 1,234
    r"|(?:(?:[1-9]\d{0,2}(?:,\d{3})+(?!\d)|\d+)(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|(?i:nan|inf(?:inity)?)\b)"
)
WHOLE = re.compile(r"[-+]?(?:\d+|[1-9]\d{0,2}(?:,\d{3})+)")
COUNTED = re.compile(  # "train loss after 8 epochs: 0.1", "Accuracy of the network on the 10000 test images: 98 %"
    r"\b(after|on|over|at|for|of|in|from|across)\s+(?:the\s+)?(?:first\s+|last\s+|all\s+|global[\s_-]|training\s+)?"
    r"(?:(epoch|step|iteration|iter|episode|round|update|generation|batch)\s+)?"
    r"(\d[\d,]*)((?:\s+[^\W\d][\w-]*){0,3}?)(?(2)(?=\s*(?:[:=|,;>)-]|is\b|was\b|$))|(?=\s*(?:[:=]|is\b|was\b)))",
    re.IGNORECASE,
)

BAR = re.compile(r"\d+%\|[^|]*\||\[[=>.\s]*[=>][=>.\s]*\]")  # 45%|###  |, [===>...]

# Between a name and its number.
LINK = re.compile(r"\b(?:is|was|of|to|reached|equals)\s*[:=]?\s*$", re.IGNORECASE)
CALL = re.compile(r"(?:\btensor|\barray|\bfloat\d*|\bnp\.\w+|\bnumpy\.\w+|\bArray|\bDeviceArray|\bTensor)$")
UNIT = re.compile(r"\(([^()]{1,24})\)$")  # PSNR (dB): 30.1
# What ends a name to the left.
CUT = re.compile(
    r"[,;|(){}\[\]<>│┃║•·!?。,；、\t\n&]|\s[-–—*/]+\s|\s{2,}"
    r"|(?:(?<=[^\s:=：＝])|(?<=\s[:=：＝])|(?<=\A[:=：＝]))[:=：＝]+(?=\s|$)|[-=*#~_.]{2,}|[.…](?=\s|$)"
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
    r"\b(?:Namespace|Config(?:uration)?|Arguments|Args|HParams|Hparams|Params|dict|OmegaConf|Box|AttrDict|EasyDict|CfgNode)\(",
    re.IGNORECASE,
)
DUMP_HEAD = re.compile(
    r"\W*(?:\w+\s){0,2}(?:args|arguments|config|configuration|hparams|hyper[- ]?param\w*|params|parameters|settings"
    r"|options|flags)\s*[:=({\[]",
    re.IGNORECASE,
)
NOT_NUMBERS = re.compile(r"['\"]?[:=]\s*(?:None|null|True|False|true|false|['\"](?![-+.\d]))")
BRACE = re.compile(r"[{}]")
KEY = re.compile(r"[\w./@-]+")
CONFIG_KEY = re.compile(r"(?:config|params|hparams|args|parameters|settings|options|kwargs)\w*\Z", re.IGNORECASE)
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
JOINED = re.compile(r"[|/,]\s?[^\W\d][\w-]{0,30}[)\]]?\s*[:=]")  # what JOINT must have
JOINT = re.compile(  # "acc|logloss = 0.78|0.47", "loss, acc: 0.3, 0.9"
    r"(?<![\w|/,])((?:[^\W\d][\w-]{0,30}\s?[|/,]\s?)+[^\W\d][\w-]{0,30})[)\]]?\s*[:=]\s*[\[(]?\s*"
    r"((?:[-+]?[\d.]+(?:[eE][-+]?\d+)?%?\s?[|/,]\s?)+[-+]?[\d.]+(?:[eE][-+]?\d+)?)"
)
