"""The words of training logs: which name a metric, a step, a part of the data, and which never name a metric."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
_SHORT = 80  # characters

# What a name says about the number beside it.
STRONG = "strong"  # a word for a metric: loss, accuracy
WEAK = "weak"  # unknown: a metric where it keeps company with one, or where it changes
SETTING = "setting"  # a word for a setting: a metric only where it changes
NEVER = "never"  # times, sizes, counts, rates
STEP = "step"  # says where in the training we are


def words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


DOWN = words_of(
    """loss losses error errors err mse rmse mae mape smape wmape msle rmsle mad nll nlll bpd bpc bpb ppl
    perplexity fid kid wer cer ter mer eer lpips deviance brier ece regret cost logloss kl kld kldiv divergence
    fpr fnr far frr hinge crossentropy xent ce bce mindcf epe ade fde mpjpe residual misclassification inertia
    rmsd hter der gap entropy chamfer emd loss_ce val_bpb minade minfde abs_rel 损失 误差 错误率 損失 誤差
    verlust fehler fehlerrate perte erreur pérdida perdida erro perda потери потеря ошибка 손실 오차"""
)
UP = words_of(
    """acc accuracy eprewmean accu accs top1 top3 top5 auc auroc auprc aupr roc ap map map50 map75 map5095 mar iou miou
    fwiou dice f1 fscore f1score fmeasure fbeta f05 f2 precision recall prec rec sensitivity specificity kappa
    qwk mcc r2 rsquared corr correlation pearson spearman kendall ndcg mrr hits bleu bleu4 rouge rouge1 rouge2
    rougel rougelsum meteor cider spice chrf psnr ssim msssim reward rewards rew return returns score scores
    fitness elbo likelihood loglik em jaccard ari nmi ami silhouette homogeneity completeness gini ks tpr tnr
    winrate success sharpe lift snr sdr sisdr pesq stoi mos auuc map_50 explained ic concordance cindex 准确率
    正确率 精度 精确率 召回率 奖励 得分 正解率 適合率 再現率 genauigkeit trefferquote exactitude précision
    exactitud precisión exatidão acurácia точность полнота награда 정확도 정밀도 재현율"""
)
METRIC = (
    DOWN
    | UP
    | words_of("elbo objective metric metrics gnorm gradnorm pplx lossy goodness quality stat advantage td_error")
)

STEPS = words_of(
    """epoch epochs epoche ep epo step steps iter iters iteration iterations it global_step globalstep round
    rounds batch update updates num_updates timestep timesteps total_timesteps env_step env_steps episode
    episodes epis generation gen trial fold game batches minibatch frame frames tree trees estimator nimg kimg
    época epoca époque эпоха шаг エポック 에포크 轮次 轮 回合 步数"""
)
EPOCHS = words_of("epoch epochs epoche ep epo época epoca époque эпоха エポック 에포크 轮次 轮")
INNER = words_of(
    "step steps iter iters batch it batches minibatch"
)  # restart with each epoch where both stand on a line

_NEVER = words_of(
    """time times eta elapsed remaining runtime sec secs second seconds ms minute minutes hour hours duration
    dur wall clock took speed fps throughput ips wps ups tps wpb bsz qps latency flops flos gflops tflops mfu
    hfu date timestamp memory mem vram ram gpumem gb mb kb gib mib byte bytes size sizes len length params param
    parameters parameter version ver port pid rank seed gpu cpu gpus cuda device devices cudnn num number count
    counts ntokens nsentences tokens samples sample examples example images image rows row columns column files
    file classes class world workers worker nproc node nodes layer layers channels dim dims shape width height
    line id ids uid index idx progress percent support total_params utilization util temp_c power watt ver v_num
    vnum free used available cached max_length vocab instances instance epochs_total checkpoint ckpt code exit
    errno status pred_time per_second docs doc items wps bits bit curr_best best_iteration iteration_best
    allocated reserved peak rss swap cores threads uptime year month day page pages 时间 耗时 用时 内存 显存
    长度 数量 大小 zeit durée tiempo время 시간"""
)
_SETTING = words_of(
    """lr learning_rate learningrate lrs momentum dropout alpha beta beta1 beta2 betas gamma epsilon eps
    weight_decay wd decay weight weights scale threshold thres thresh thr coef coeff coefficient weighting
    tolerance tol lambda patience delta factor smoothing temperature temp tau clip clip_range clipping
    batch_size hidden units optimizer scheduler warmup margin bias init penalty c fraction ratio subsample
    max_depth depth min_delta width_mult eta0 l1_ratio power_t rate 学习率 lernrate taux"""
)
_HARD = words_of(  # never, whatever stands beside them
    """time times eta elapsed remaining runtime sec secs seconds ms duration wall speed fps throughput memory
    mem gb mb num n count version date size sizes len length params ckpt checkpoint id ids idx index seed port
    pid rank v_num vnum 时间 耗时 用时 数量 大小"""
)
_COSTS = words_of("batch_cost data_cost reader_cost data time_cost")  # in time, not in loss
_RATES = words_of(
    "error success win hit pass solve acceptance recall accuracy fail failure positive negative detection wer"
)

SPLITS = {
    **dict.fromkeys(words_of("train training trn tr learn 训练 訓練 treino entrenamiento обучение 学習 학습"), "train"),
    **dict.fromkeys(
        words_of("val valid validation validating validate dev holdout 验证 検証 валидация 검증 validación"), "val"
    ),
    **dict.fromkeys(words_of("test testing tst tests 测试 測試 тест テスト 테스트 prueba"), "test"),
    **dict.fromkeys(words_of("eval evaluation evaluating evaluate 评估 评价 評価"), "eval"),
}
# A word that heads the rest of a line without being a metric: "Overall: Average Reward".
LABELS = words_of("overall final best total average avg mean cv oof holdout global ema")
AVERAGES = ("average_", "avg_", "mean_")
# May stand beside train, val or test in a heading: "Test set:", "Validation results:".
SPLIT_LABELS = words_of(
    """set results result data dataset metrics metric split phase stats statistics epoch step summary
    performance evaluation scores score mode stage report on the in iter net network output outputs subset
    loader dataloader split partition samples"""
)
# Begin lines of any kind, so they tell no metrics apart.
NO_LABELS = words_of(
    """wandb info debug warning error root main rank worker stdout stderr log logger output trainer runner
    engine process result results metrics summary stats averaged final best new current saving saved model"""
)
PLURALS = words_of("epochs steps iterations iters rounds updates batches trees episodes")
_WORD = re.compile(r"[a-z]+\d*|\d+|[^\W\d_a-z]+")
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
CAMEL = re.compile(r"(?<=[A-Za-z0-9][a-z0-9])(?=[A-Z][a-z])|(?<=[a-z]{2})(?=[A-Z])")  # but mIoU is one word


def remembered(function: Function) -> Function:
    """``function``, a pure one of a text, with what it made of short ones remembered: logs say the same for ever."""
    cached = functools.lru_cache(maxsize=10_000)(function)

    @functools.wraps(function)
    def call(text: str, *more: Any) -> Any:
        return cached(text, *more) if len(text) <= _SHORT else function(text, *more)

    return cast(Function, call)


@remembered
def words(name: str) -> tuple[str, ...]:
    """``name`` in lower-case words: ``valLoss``, ``val_loss`` and ``Val. loss`` are all ``('val', 'loss')``."""
    return tuple(_WORD.findall(CAMEL.sub("_", name).lower()))


def split_of(word: str) -> str | None:
    """Which part of the data ``word`` names (train, val, test, eval); None for any other word."""
    found = SPLITS.get(word)
    if found is None and not word.isascii() and _CJK.search(word):
        for text, split in SPLITS.items():
            if _CJK.match(text) and text in word:
                return split
    if found is None and word[-1:].isdigit():
        return SPLITS.get(word.rstrip("0123456789"))
    return found


@remembered
def is_metric_word(word: str) -> bool:
    if word in METRIC:
        return True
    bare = word.rstrip("0123456789") if word[-1:].isdigit() else word
    if bare in METRIC and len(bare) > 1:
        return True
    if bare.endswith(("loss", "accuracy", "reward", "entropy", "error", "perplexity")) and not bare.endswith(
        "lossless"
    ):
        return True
    for prefix in ("train", "val", "valid", "test", "avg", "mean", "m", "a"):  # valloss, mDice, aAcc
        if bare.startswith(prefix) and len(bare) > len(prefix) + 2 and bare[len(prefix) :] in METRIC:
            return True
    return not word.isascii() and bool(_CJK.search(word)) and any(text in word for text in METRIC if _CJK.match(text))


@remembered
def kind(name: str) -> str:
    """What a name says about the number beside it: STRONG, WEAK, SETTING, NEVER or STEP."""
    parts = words(name)
    if not parts:
        return NEVER
    joined = "_".join(parts)
    strong = any(map(is_metric_word, parts))
    if parts[0] == "n" and len(parts) > 1:
        return NEVER
    if joined in STEPS or (parts[-1] in STEPS and not strong):
        return STEP
    if "_bits_per_" in f"_{joined}_":
        return STRONG
    if parts[-1] in ("scale", "to") or parts[0] in ("setting", "set", "reducing", "changing"):
        return NEVER
    if parts[-1] in STEPS and parts[0] in ("best", "last", "max", "min"):
        return NEVER
    if any(part in ("len", "length") for part in parts) and any(part in ("ep", "eps", "episode") for part in parts):
        return STRONG
    if parts[-1] == "rate" and len(parts) > 1 and (parts[-2] in _RATES or strong):
        return STRONG
    if joined in _COSTS:
        return NEVER
    if any(part in _NEVER for part in parts) or joined in _NEVER:
        return NEVER if not strong or any(part in _HARD for part in parts) else STRONG
    if joined.endswith(("_per_second", "_per_sec", "_per_s")) or (
        parts[0] in ("n", "num", "no", "total") and len(parts) > 1 and not strong
    ):
        return NEVER
    if joined in _SETTING or any(part.rstrip("0123456789") in _SETTING for part in parts) or "learning_rate" in joined:
        return STRONG if parts[-1] in METRIC and parts[0] != "target" else SETTING
    if parts[0] == "best" and len(parts) > 1 and not strong:
        return STRONG
    return WEAK if not strong else SETTING if parts[0] == "target" else STRONG


# As bytes without digits, for a quick look at a line.
KNOWN_WORDS = frozenset(
    part.rstrip("0123456789").encode() for word in METRIC | STEPS | SPLITS.keys() for part in word.split("_")
) - {b"", b"it", b"is", b"per", b"r", b"f", b"l"}
