"""The words by which responses announce an answer, as patterns: English first, then other languages."""

from __future__ import annotations

import re

from dreamprm.responses.corrections import VALUE, VALUE_ENDS
from dreamprm.responses.headings import MARKS

_FLAGS = re.IGNORECASE | re.MULTILINE | re.VERBOSE
_COLON = r"[:\uFF1A]"
_EMPHASIS = r"(?:[*_]+(?=[\s:=\uFF1A]))?"
# What may close a label: "**Answer:** B", "Answer**:** B".
_ENDS_LABEL = r"(?:[*_]+(?=\s))?[ \t]*"

# The line requested by our prompts.
FINAL_ANSWER = re.compile(
    rf"^{MARKS}(?:the[ \t]+)?final[ \t]+answer(?:[ \t]+is\b)?[ \t]*+[*_]*+[ \t]*+(?:[:\uFF1A]|$)[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)

# 'the answer is', 'The correct option is:', 'answer = 5'. `an answer is` and 'the answers are' in running
# text state no answer; neither do 'is not', 'is that', and 'is no' before more.
ANSWER_IS = re.compile(
    rf"""
    \b (?: (?:the|my|our|your|so) \s+ | (?=correct\s|final\s|right\s) )
    (?: (?:correct|right|final|best|required|closest|desired|numerical|revised|corrected|new) \s+ ){{0,6}}
    (?: answer | option | choice | (?<=final\s)(?:result|value) )
    (?: \s+ (?:choice|option|letter|to\s+th(?:e|is)\s+(?:question|problem)) )?
    (?:
        \s+ (?:is|would\s+be|will\s+be|must\s+be|should\s+be|becomes) \b
        (?! n't | \s+ (?: (?:not|that|based|because)\b | no\b (?! [\s.,;!*_]* (?:[,;.]|\n|\Z) ) ) )
        (?: \s+ (?:therefore|thus|simply|just|option|choice|answer|probably|likely|clearly|indeed|then
                  |actually|obviously|now) \b )*
      | (?= \s*+ [*_]*+ \s*+ [:=\uFF1A] )
    )
    \s* {_EMPHASIS} \s* [:=\uFF1A]? {_ENDS_LABEL}
    """,
    _FLAGS,
)

# 'Answer: 5', '**Answer:** B', 'Ans: 5', '{"answer": "B"}', at the start of a line or within one.
ANSWER_COLON = re.compile(
    rf"""
    (?<![\w-]) (?: (?:correct|right|final|my|short|revised|corrected) [ \t]+ )?
    (?:final_)? (?:answer|ans|correction) \.? ["']? [ \t]*+ [*_]*+ [ \t]*+ [:=\uFF1A] {_ENDS_LABEL}
    | ^ {MARKS} (?: (?:correct|final) [ \t]+ )?
    (?:option|choice) [ \t]*+ [*_]*+ [ \t]*+ [:=\uFF1A] {_ENDS_LABEL}
    """,
    _FLAGS,
)

# '**Answer**' or '## Answer' alone on a line, 'Answer (B)'.
ANSWER_HEADING = re.compile(
    rf"^{MARKS}answer[ \t]*+[*_]*+[ \t]*+"
    r"(?:$|(?:[-\u2013\u2014][ \t]*)?(?=[(\[]?[A-Z][)\]]?[.*_ \t]*$))",
    re.IGNORECASE | re.MULTILINE,
)

TAG = re.compile(
    r"<(?P<tag>answer|final_answer|conclusion)>"
    r"(?P<held>[^<]*(?:<(?!/?(?:answer|final_answer|conclusion)>)[^<]*)*)(?:</(?P=tag)>|\Z)",
    re.IGNORECASE,
)
# `#### Step 4` is a Markdown heading; GSM8K's mark is followed by a number.
HASHES = re.compile(
    r"^[ \t]*####[ \t]*+(?P<held>[-+$\u20ac\u00a3]?[ \t]*+\.?\d[^\n]*|[(\[]?[A-Z][)\]]?[ \t.]*$)",
    re.MULTILINE,
)

# "Answer: B", "the answer is B" and "so choose B" in Chinese.
CHINESE = re.compile(
    rf"""
    (?:\u6b63\u786e|\u6700\u7ec8|\u6700\u540e)? \u7684? (?:\u7b54\u6848|\u9009\u9879)
    (?:\u5e94\u8be5|\u5e94|\u5c31)? (?! \u4e0d)
    (?: (?:\u662f|\u4e3a|\u70ba|\u9009) [ \t]* {_COLON}? | [ \t]*+ [*_]*+ [ \t]*+ {_COLON} ) {_ENDS_LABEL}
    | (?<![\u4e0d\u53ef]) [\u9009\u9078] (?:\u62e9|\u64c7|\u9879|\u9805)? [ \t]*+ {_COLON}? [ \t]*+
    (?= [(\uFF08\u3010$*]* [A-Z\uFF21-\uFF2A] (?![a-z]) )
    """,
    _FLAGS,
)
OTHER_LANGUAGES = re.compile(
    rf"""
    \b (?:respuesta|r[\u00e9e]ponse|antwort|resposta|risposta)
    (?: [ \t]+ (?:correcta|final|correcte|finale|correta|certa|corretta) )?
    (?: [ \t]+ (?:es|est|ist|lautet|\u00e9|\u00e8) \b (?! [ \t]+ (?:no|n\u00e3o|non|pas|nicht|que)\b )
        [ \t]* {_COLON}?
      | [ \t]*+ [*_]*+ [ \t]*+ {_COLON} ) {_ENDS_LABEL}
    | (?:\u043e\u0442\u0432\u0435\u0442|jawaban(?:nya)?|\u0111\u00e1p[ ]\u00e1n|cevap)
    (?: [ \t]+ (?:adalah|l\u00e0) )? [ \t]*+ [*_]*+ [ \t]*+ [:\uFF1A\u2014] {_ENDS_LABEL}
    | (?:\u7b54\u3048|\u6b63\u89e3|\uc815\ub2f5) (?: \u306f | \uc740 | [ \t]* {_COLON} ) [ \t]*
    """,
    _FLAGS,
)

_IS = r"(?: 's | \u2019s | [ \t]+ (?:is|must[ \t]+be|should[ \t]+be|would[ \t]+be) ) [ \t]+"
_I_THINK = r"I (?: '?d | \u2019d | 'll | [ \t]+would | [ \t]+will )? [ \t]+"
_PAUSE = r"(?: [ \t]*+ , [ \t]++ | [ \t]++ )"
# "I think B.", "Actually C.", "So it is 4.": only before a plain value that ends its clause.
OPINION = re.compile(
    rf"""
    (?:
        \b {_I_THINK} (?:think|believe|guess|say|choose|pick|select|go[ \t]+with|opt[ \t]+for) {_PAUSE}
        (?: that[ \t]+ )? (?: (?:it|this|the[ \t]+answer) {_IS} )?
      | \b my [ \t]+ (?:guess|choice|pick) {_IS}
      | \b (?:so|therefore|thus|hence) {_PAUSE} (?: (?:we|I) [ \t]+ )? (?:choose|select|pick) [ \t]+
      | (?<![^.!?,;:\n\u2014\ ]) actually {_PAUSE}
      | (?: \b (?:so|therefore|thus|hence|then|now|actually|no|wait) \b [ \t]*+ ,? [ \t]*+ | \u2234 [ \t]* )
        (?:it|this|the[ \t]+(?:result|total)) {_IS}
    )
    (?P<value> {VALUE} ) {VALUE_ENDS}
    """,
    _FLAGS,
)
_LETTER = r"[*_]{0,3} [(\[]? (?-i:[A-Z]) [)\]]? [*_]{0,3}"
# "B is correct.", "So (B) is the right answer.", "5 is the answer."
VALUE_IS = re.compile(
    rf"""
    (?<![\w(\[-]) (?P<value> (?: (?:option|choice) [ \t]+ )? {_LETTER} ) [ \t]+ is [ \t]+
    (?: (?:therefore|thus|clearly) [ \t]+ )? (?: the [ \t]+ )? (?: only [ \t]+ )?
    (?:correct|right|best) \b (?: [ \t]+ (?:answer|option|choice|one) )?
    (?= [ \t]* [.,;!)*] | [ \t]* $ | [ \t]+ (?:because|since|as)\b )
    | (?<![\w(\[-]) (?P<other> (?: option [ \t]+ )? (?: {_LETTER} | \d[\d.,]{{0,20}} ) )
    [ \t]+ is [ \t]+ the [ \t]+
    (?: (?:final|correct|right) [ \t]+ )? answer \b (?! [ \t]+ to \b )
    """,
    _FLAGS,
)

# A condition, a doubt or a rejection before a mark: "if the answer is 5", "neither A nor B is correct".
SUPPOSED = re.compile(
    r"\b(?:if|whether|unless|suppose|supposing|assume|assuming|imagine|neither|nor|not|either|or|why|when"
    r"|(?:not|n't|never|hard\s+to)\s+(?:think|believe|say|know|mean)(?:\s+that)?)"
    r"(?:\s+[*_]{0,3}[(\[]?[A-Z][)\]]?[*_]{0,3}\s+(?:or|nor))?[ \t]+\Z",
    re.IGNORECASE,
)
DECLINES = re.compile(
    r"(?:I(?:['\u2019]m|\s+(?:am|can|cannot|can['\u2019]t|do|don['\u2019]t|see|have|could|would|need|was|will)\b)|sorry|unfortunately|please"
    r"|as\s+an\s+AI)",
    re.IGNORECASE,
)
# What goes on about an answer instead of stating it: "the answer is found by adding".
GOES_ON = re.compile(
    r"(?:found|determined|obtained|given|calculated|computed|derived|shown|clear|unclear|unknown|listed"
    r"|as\s+follows|therefore|thus|also|always|often|usually|in\s+the|among|between|one\s+of)\b",
    re.IGNORECASE,
)
