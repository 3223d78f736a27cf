"""What Jinja writes, for the interpreter of common/text/jinja.

    tests/golden/jinja.py > tests/golden/jinja.json

Needs transformers (5.24 was used), whose environment for chat templates renders each template below with the variables below: its
text and what its `generation` blocks wrote, in bytes; null where it raises. Each covers a part of the language. "every" are hashes (FNV-1a) of
what templates write of every character that Unicode 14, Python 3.11's, has: "ranges" of code points, CHUNK of them a text.
"""

import json
import sys
import unicodedata

from transformers.utils.chat_template_utils import render_jinja_template

VARIABLES = {
    "a": 1, "b": 2.5, "t": "Hello, W\u00f6rld", "e": "", "n": None, "l": [3, 1, 2], "d": {"z": 1, "B": "x", "a": [1, {"k": None}]},
    "tr": True, "big": 10**15, "nl": "one\n\ntwo\r\nthree\n", "uni": "\u00e9\U0001f600 \u00df\u00a0x\u200b", "q": "it's \"q\"\\",
    "ms": [{"role": "user", "n": {"x": 2}}, {"role": "assistant", "n": {"x": 1}}, {"role": "User"}],
    "items": {"items": 1, "get": 2}, "f": 0.1, "g": 1e22, "h": 1e-7, "neg": -7, "html": "<a href='x'>&",
}

# One after another, with a line of two at signs between them.
TEMPLATES = r"""
{{ a }} {{ b }} {{ n }} {{ tr }} {{ l }} {{ d }} {{ missing }}|{{ (1,2) }} {{ (1,) }} {{ () }} {{ [] }} {{ {} }}
@@
{{ f }} {{ g }} {{ h }} {{ 1e16 }} {{ 123456789.0 }} {{ -0.0 }} {{ 1/3 }} {{ 100.0 }} {{ 1e15 }} {{ 12345678901234567.0 }} {{ 5e-324 }}
@@
{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 2 ** 10 }} {{ 2 ** -1 }} {{ 7 / 2 }} {{ 6 / 2 }} {{ a + b }} {{ tr + 1 }} {{ 'ab' * 3 }} {{ [1] * 2 }} {{ 3 * 'x' }}
@@
{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 'a' < 'b' }} {{ [1,2] < [1,3] }} {{ 1 == 1.0 }} {{ true == 1 }} {{ 'a' == 1 }} {{ none == none }} {{ 'x' in 'xyz' }} {{ 3 in l }} {{ 'z' in d }} {{ 5 not in l }} {{ 1 in missing }} {{ 2 >= 2 }} {{ 1.5 <= 1 }} {{ (1,2) == [1,2] }} {{ {'a':1} == {'a':1} }}
@@
{{ not a }} {{ a and b }} {{ e or t }} {{ n and 1 }} {{ a if e else b }} {{ a if e }} {{ 1 if true else 2 if false else 3 }} {{ not a == 2 }}
@@
{{ t[0] }}{{ t[-1] }}{{ t[2:4] }}{{ t[::-1] }}{{ t[:-3] }}{{ t[7:] }}{{ t[100] }}{{ t[5:2] }}{{ t[::2] }}{{ uni[1:3] }}{{ uni[-3:] }} {{ l[1:] }} {{ l[::-1] }} {{ l[-2:] }} {{ l[5] }} {{ (1,2,3)[1:] }} {{ l[:-1] }} {{ t[-100:3] }} {{ l[3:0:-1] }}
@@
{{ d.z }} {{ d['B'] }} {{ d.a[1].k }} {{ d.nope }} {{ d['nope'] }} {{ d.a.1 }}
@@
{{ items['items'] }} {{ items.get('get') }} {{ items['get'] }} {{ d.get('q', 5) }} {{ d.get('q') }} {{ d.keys() | list }} {{ d.values() | list }} {% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}
@@
{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.cycle('a','b') }}{{ loop.changed(x) }}{{ loop.depth }} {% else %}none{% endfor %}
@@
{% for x in [] %}x{% else %}empty{% endfor %}{% for x in l if x > 1 %}{{ x }}{{ loop.length }}{{ loop.last }} {% endfor %}{% for x in missing %}x{% endfor %}{% for c in t %}{{ c }}.{% endfor %}{% for k in d %}{{ k }}{% endfor %}
@@
{% for x in [1,2,3,4,5] %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% for y in [1,2] %}{% if y == 2 %}{% break %}{% endif %}y{% endfor %}{% endfor %}
@@
{% set x = 1 %}{% for i in [1,2] %}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}
@@
{% set ns = namespace(x=1, y='q') %}{% for i in [1,2] %}{% set ns.x = ns.x + i %}{% set ns.new = i %}{% endfor %}{{ ns.x }} {{ ns.new }} {{ ns.y }} {{ ns.zzz }}
@@
{% set x %}block {{ a }}{% endset %}[{{ x }}] {% set y | upper | trim %}  abc {% endset %}[{{ y }}] {% set p, q = 1, 2 %}{{ p }}{{ q }}{% set (r, s) = (3, 4) %}{{ r }}{{ s }}
@@
{% macro m(x, y=2, z='q') %}<{{ x }},{{ y }},{{ z }}>{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(z=5, x=0) }}{{ m() }}{{ m(1)|length }}
@@
{% macro m(x, y=2) %}<{{ x }},{{ y }}>{% endmacro %}{{ m(1, 2, 3) }}
@@
{% macro rec(n) %}{{ n }}{% if n > 0 %}{{ rec(n - 1) }}{% endif %}{% endmacro %}{{ rec(5) }}
@@
{% macro f() %}{{ later }}{% endmacro %}{% set later = 'L' %}{{ f() }}{% for i in [1] %}{% set later = 'M' %}{{ f() }}{% endfor %}
@@
{% macro c(x) %}[{{ caller() }}|{{ caller() }}|{{ x }}]{% endmacro %}{% call c(1) %}body {{ a }}{% endcall %}
@@
{% macro c() %}{% for i in l %}{{ caller(i, 'k') }}{% endfor %}{% endmacro %}{% call(i, j) c() %}<{{ i }}{{ j }}>{% endcall %}
@@
{% filter upper | replace('A', 'x') %}abc {{ a }}{% set q = 1 %}{% endfilter %}{{ q }}
@@
{% with x = 1, y = a %}{{ x }}{{ y }}{% set z = 3 %}{% endwith %}{{ x }}{{ z }}
@@
{% generation %}abc{{ a }}{% set zz = 1 %}{% endgeneration %}{{ zz }} é{% generation %}é{% endgeneration %}{% for i in [1,2] %}x{%- generation -%} {{ i }} {%- endgeneration %}{% endfor %}
@@
{% macro g() %}head{% generation %}in{% endgeneration %}tail{% endmacro %}ab{{ g() }}cd{% set s %}{% generation %}q{% endgeneration %}{% endset %}{{ s }}
@@
{{ d | tojson }} {{ uni | tojson }} {{ uni | tojson(ensure_ascii=True) }} {{ d | tojson(indent=2) }} {{ l | tojson(indent=1, separators=(',', ' : ')) }} {{ d | tojson(sort_keys=True) }} {{ {} | tojson(indent=2) }} {{ [[],{}] | tojson(indent=4) }} {{ (1, none) | tojson }} {{ q | tojson }} {{ g | tojson }} {{ {1: 2, true: none, none: 3, 1.5: 4} | tojson }}
@@
{{ missing | tojson }}
@@
{{ '  x ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ t | length }}|{{ l | length }}|{{ d | length }}|{{ missing | length }}|{{ uni | length }}|{{ 5 | string }}|{{ l | join(', ') }}|{{ t | join('-') }}|{{ ms | join('+', attribute='role') }}|{{ [1, none, 'x'] | join }}
@@
{{ missing | default('D') }}{{ e | default('D') }}{{ e | default('D', true) }}{{ n | default('D') }}{{ n | default('D', boolean=true) }}{{ missing | d }}{{ d.q | default([]) }}{{ 0 | default(7, true) }}
@@
{{ t | upper }}{{ t | lower }}{{ 'hELLO wORLD' | capitalize }}{{ "hello-wo(rld <x {y [z it's" | title }}{{ 'aXbX' | replace('X', '--') }}{{ 'aXbX' | replace('X', '--', 1) }}{{ 'ab' | replace('', '.') }}{{ 5 | upper }} {{ 'é' | replace('', '.') }}{{ '' | replace('', 'x') }}{{ 'abc' | replace('', '-', 2) }}
@@
{{ l | first }}{{ l | last }}{{ [] | first }}{{ t | first }}{{ t | last }}{{ d | first }}{{ l | list }}{{ t | list }}{{ d | list }}{{ l | reverse | list }}{{ t | reverse }}
@@
{{ d | items | list }}{{ missing | items | list }}{{ d | dictsort }}{{ {'b':1,'A':2,'a':3} | dictsort }}{{ {'b':1,'A':2} | dictsort(true) }}{{ {'b':1,'A':2} | dictsort(by='value') }}{{ {'b':1,'A':2} | dictsort(false, 'value', true) }}{{ {'b':1,'A':2} | dictsort(reverse=true) }}
@@
{{ ms | map(attribute='role') | list }}{{ ms | map(attribute='n.x', default=0) | list }}{{ l | map('string') | list }}{{ ['a','b'] | map('upper') | join(',') }}{{ [' a '] | map('trim') | list }}{{ ['ab'] | map('replace', 'a', 'x') | list }}{{ ms | map(attribute='zz') | list | length }}
@@
{{ l | select('odd') | list }}{{ [0,1,'',none] | select | list }}{{ l | reject('equalto', 1) | list }}{{ ms | selectattr('role', 'equalto', 'user') | list }}{{ ms | rejectattr('n') | list }}{{ ms | selectattr('n', 'defined') | list | length }}{{ ms | selectattr('n.x', '>', 1) | list }}{{ l | select('>', 1) | list }}{{ l | select('in', [1,2]) | list }}
@@
{{ [3,1,2] | sort }}{{ [3,1,2] | sort(reverse=true) }}{{ ['b','A','a'] | sort }}{{ ['b','A','a'] | sort(case_sensitive=true) }}{{ ms | sort(attribute='role') | map(attribute='role') | list }}{{ [1,1,2] | unique | list }}{{ ['a','A','b'] | unique | list }}{{ l | min }}{{ l | max }}{{ l | sum }}{{ ['b','A'] | min }}{{ [{'a':1},{'a':5}] | sum(attribute='a') }}{{ [] | sum(start=4) }}{{ [] | max }}
@@
{{ '3' | int }}{{ '3.7' | int }}{{ 'x' | int }}{{ 'x' | int(9) }}{{ 3.9 | int }}{{ '3' | float }}{{ 'x' | float }}{{ ' 12 ' | int }}{{ true | int }}{{ none | int }}{{ 2.5 | round }}{{ 3.14159 | round(2) }}{{ 3.1 | round(method='ceil') }}{{ 2.675 | round(2) }}{{ 3.99 | round(1, 'floor') }}{{ 5 | round }}{{ -3 | abs }}{{ neg | abs }}{{ 1.5 | abs }} {{ '1e3' | int }} {{ 'inf' | float }} {{ 'nan' | int }} {{ '1_0' | int }}
@@
{{ nl | indent }}|{{ nl | indent(2, true) }}|{{ nl | indent(2, blank=true) }}|{{ nl | indent('> ') }}|{{ 'x' | indent }}|{{ '' | indent(first=true) }}|
@@
{{ html | escape }}{{ html | e }}{{ html | safe }}{{ html | safe ~ '<' }}{{ (html | e) ~ '<' }}{{ ('x' | safe) + 'y' }}{{ l | attr('q') }}{{ 'x' | attr('upper') is callable }}
@@
{{ 'a,b,,c'.split(',') }}{{ ' a  b c '.split() }}{{ 'a b c d'.split(' ', 2) }}{{ ' a  b c '.split(none, 1) }}{{ 'a,b,c'.rsplit(',', 1) }}{{ 'abc'.split('x') }}{{ ''.split() }}{{ ''.split(',') }}{{ 'a--b'.partition('--') }}{{ 'abc'.partition('x') }}{{ 'a-b-c'.rpartition('-') }}{{ 'abc'.rpartition('x') }}{{ nl.splitlines() }}{{ nl.splitlines(true) }}{{ 'a</think>b</think>c'.split('</think>')[-1] }}{{ 'x y'.split(sep=' ', maxsplit=1) }}{{ 'a,b,c'.rsplit(',') }}
@@
{{ ' x '.strip() }}{{ 'xxaxx'.strip('x') }}{{ 'xxaxx'.lstrip('x') }}{{ 'xxaxx'.rstrip('xa') }}{{ '\n a\n'.lstrip('\n') }}{{ uni.strip('éx\u200b') }}|{{ '\x1f\x85 a\u3000'.strip() }}|{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x','c')) }}{{ 'abc'.startswith(('x','y')) }}{{ 'abab'.replace('a','x') }}{{ 'abab'.replace('a','x',1) }}{{ 'abc'.removeprefix('ab') }}{{ 'abc'.removesuffix('bc') }}
@@
{{ 'abcb'.find('b') }}{{ 'abcb'.rfind('b') }}{{ 'abc'.find('x') }}{{ 'é😀b'.find('b') }}{{ 'abcb'.count('b') }}{{ 'ab'.count('') }}{{ 'abc'.index('c') }}{{ 'aB'.upper() }}{{ 'aB'.lower() }}{{ 'aB cD'.capitalize() }}{{ "it's aB_c d1e".title() }}{{ ','.join(['a','b']) }}{{ '12'.isdigit() }}{{ 'x'.isalpha() }}{{ ' '.isspace() }}{{ ''.isdigit() }}{{ l.index(1) }}{{ l.count(3) }}{{ d.copy() }}
@@
{{ a is defined }}{{ missing is defined }}{{ missing is undefined }}{{ n is none }}{{ t is string }}{{ d is mapping }}{{ l is mapping }}{{ l is iterable }}{{ t is iterable }}{{ a is iterable }}{{ missing is iterable }}{{ l is sequence }}{{ d is sequence }}{{ t is sequence }}{{ a is sequence }}{{ missing is sequence }}{{ a is number }}{{ tr is number }}{{ b is number }}{{ b is float }}{{ a is integer }}{{ tr is integer }}{{ tr is boolean }}{{ a is boolean }}{{ tr is true }}{{ 1 is true }}{{ false is false }}{{ n is false }}
@@
{{ a is odd }}{{ a is even }}{{ 9 is divisibleby 3 }}{{ 9 is divisibleby(2) }}{{ a is eq 1 }}{{ a is equalto(2) }}{{ a is sameas 1 }}{{ n is sameas none }}{{ a is in [1] }}{{ a is not in [1] }}{{ a is not none }}{{ a is gt 0 }}{{ a is lt(0) }}{{ a is ge 1 }}{{ a is ne 1 }}{{ 'abc' is lower }}{{ 'ABC' is upper }}{{ 'a1' is lower }}{{ '1' is lower }}{{ range is callable }}{{ a is callable }}{{ d is sameas d }}
@@
{{ range(3) | list }}{{ range(1, 7, 2) | list }}{{ range(3, 0, -1) | list }}{{ range(0) | list }}{{ dict(a=1, b=2) }}{{ dict({'x': 1}, y=2) }}{{ range(10) | length }}{{ range(5)[2] }}
@@
{{ raise_exception('stop ' + t) }}
@@
a {{- a -}} b
 {{- a }} 
 {%- if a %}
   x
 {%- endif %}
   {% if b %}
   y  
   {% endif %}
z{# c #}
   {# comment #}
w {#- c -#}  v {%+ if a %}
 kept{% endif +%}
  end
@@
{% raw %}{{ a }} {% x %}{% endraw %}|{%- raw -%}  {{ b }} {%- endraw -%} |
@@
{{ 'a\nb\t\x41\u00e9\U0001F600\101\q\\\'' }} {{ "dq\"" 'cat' }} {{ '\
x' }}
@@
{{ {'a': 1, "b": [1, {'c': 2}], 'a': 3} }}{{ {'k': {'x': 1}}['k']['x'] }}{{ '}}' }}{{ {'a':{}}}}
@@
{{ -a }}{{ +a }}{{ - b }}{{ -2 ** 2 }}{{ 2 ** 3 ** 2 }}{{ -3 | abs }}{{ (-3) | abs }}{{ 1 + 2 * 3 - 4 / 2 }}{{ 'a' ~ 1 ~ none ~ missing ~ 'b' }}{{ 2 * 3 ~ 4 }}
@@
{{ 'x' + 1 }}
@@
{{ missing.x }}
@@
{{ missing + 'x' }}
@@
{{ n.x }}|{{ n['x'] }}|{{ a.foo }}|{{ t.foo }}
@@
{% for x in n %}{% endfor %}
@@
{{ l.append(4) }}
@@
{{ d.update({'q': 1}) }}
@@
{% set d.x = 1 %}
@@
{{ t | nofilter }}
@@
{% if false %}{{ t | nofilter }}{{ a is notest }}{% endif %}ok
@@
{{ a is notest }}
@@
{% foo %}
@@
{% if a %}
@@
{{ a
@@
{{ 1 / 0 }}
@@
{{ a b }}
@@
{{ 'a' is string and 'b' is string or false }}{{ not 'a' is string }}{{ a is not defined or b }}{{ [a is defined, b is none] }}
@@
{{ l | tojson | safe }}{{ "<b>" | tojson }}{{ d.items() | list | tojson }}{{ [1.0, 1e100, -0.0, 0.1] | tojson }}{{ '\u2028\x7f\x01' | tojson }}{{ '\u2028\x7f\x01é😀' | tojson(true) }}
@@
{{ ['a\'b', "q\"", 'both\'"', 'n\n\t\\', '\x00\x7f\xa0é\u200b😀\ud7ff'] }}
@@
{% set x = [1, 2] %}{% set x = x + [3] %}{{ x }}{{ (1,) + (2,) }}{{ 'a' 'b' ~ 'c' }}{% for a, b in [[1, 2], (3, 4)] %}{{ a }}{{ b }}{% endfor %}{% for (a, b) in [[5, 6]] %}{{ a }}{{ b }}{% endfor %}
@@
{% for a, b in [[1]] %}{% endfor %}
@@
{{ loop }}{% for i in [1] %}{% for j in [1,2] %}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}{{ loop.index }}{% endfor %}
@@
{%- for m in ms %}{%- if loop.first %}F{%- elif loop.last %}L{%- else %}M{%- endif %}{%- endfor %}{% if missing %}1{% elif e %}2{% elif a %}3{% else %}4{% endif %}
@@
{{ ms | selectattr('role', 'in', ['user']) | list | length }}{{ (ms | last).role }}{{ (ms | first)['role'] | upper }}{{ ms[0].role.upper() }}{{ ms[-1]['role'] }}{{ (l | sort)[0] }}
@@
{{ 3 if a is defined and a == 1 else 'no' }}{{ (a if a else b) ~ 'x' }}{{ [x] if x is defined else [] }}
@@
{{ 'Ünï' | upper }}{{ 'ÜnÏ' | lower }}{{ 'ſ' | upper }}{{ 'Σ' | lower }}{{ 'ǆ' | upper }}
@@
{{ 'abc'[1:][0] }}{{ ('a,b' | replace(',', ';')).split(';')[1] }}{{ (1 > 0) | string }}{{ none | string }}{{ l | string }}{{ d | string | length }}
@@
{% set content = t %}{% if '</think>' in content %}x{% else %}{{ content.split('</think>')[-1].lstrip('\n') }}{% endif %}

@@
x
  {% set a = 1 %}  
y
{% set b = 2 -%}

z
@@
{{ 1_000 }} {{ 1.5e3 }} {{ 1e-3 }} {{ 0 }} {{ 10.25 }}
@@
{% set ns = namespace() %}{% set ns.x = 'é' %}{{ ns.x }}{{ ns is mapping }}{{ ns is iterable }}{% set ns2 = namespace({'q': 1}) %}{{ ns2.q }}
@@
{% set g = ms | selectattr('role', 'eq', 'user') %}{% for x in g %}a{% endfor %}{% for x in g %}b{% endfor %}{{ 'true' if g else 'false' }}{{ not (l | reject('in', l)) }}{{ (l | map('string')) is sequence }}{{ g is iterable }}
@@
{% set g = ms | map(attribute='role') %}{{ g | first }}{{ 'assistant' in g }}{{ g | list }}{{ 'x' in g }}{{ g | first }}|{{ (l | reverse)[0] }}{{ l | reverse | reverse }}{{ (l | unique)[0] }}{{ (missing | select) and 1 }}
@@
{{ d.items()[0] }}{{ d.keys()[0] }}{{ (d | items)[0] }}{{ d.items() | length }}{{ 'z' in d.keys() }}{{ 'x' in d.values() }}{{ ({}.keys() and 1) | length }}{% for i in [1, 2] %}{% for k, v in d.items() %}{{ k }}{% endfor %}{% endfor %}{{ d | dictsort | length }}
@@
{{ range(5)[2] }}{{ range(9)[1:6:2] | list }}{{ range(3) | length }}{{ range(0) or 'none' }}{{ 2 in range(3) }}{{ range(3) == [0, 1, 2] }}{{ range(3) == range(0, 3) }}{{ range(3) is sequence }}{{ d.keys() is sequence }}
@@
{{ l | map('string') | length }}
@@
{{ l | select | last }}
@@
{{ l | select | tojson }}
@@
{{ d.keys() | tojson }}
@@
{{ 1e400 | int }}
@@
{{ '9007199254740993' | int }} {{ ' 12 ' | int }} {{ '1e3' | int }} {{ 'x' | int }} {{ '1e400' | int(7) }} {{ true | abs }} {{ -0.0 | abs }} {{ (-0.0) | abs }} {{ (-3) | abs }}
""".strip("\n").split("\n@@\n")


def render(template):
    try:
        texts, spans = render_jinja_template([[]], chat_template=template, return_assistant_tokens_mask=True, **VARIABLES)
    except Exception:
        return None
    return {"text": texts[0], "spans": [[len(texts[0][:end].encode()) for end in span] for span in spans[0]]}


CHUNK = 2048
EVERY = [
    "{{ x | upper }}{{ x.upper() }}",
    "{{ x | lower }}{{ x.lower() }}",
    "{{ x | title }}",
    "{{ x.title() }}",
    "{% for c in x %}{{ c | capitalize }}{{ (c ~ 'A').capitalize() }}{{ ('x' ~ c) | capitalize }}{{ (c ~ 'a') | title }}{{ ('a' ~ c ~ 'a').title() }}{% endfor %}",
    "{% for c in x %}{{ (c ~ '\u03a3' ~ c) | lower }}{{ ('a' ~ c ~ '\u03a3' ~ c ~ 'a').lower() }}{{ ('a' ~ c ~ '\u03a3' ~ c ~ '1') | lower }}{% endfor %}",
    "{% for c in x %}{{ (c ~ 'a' ~ c) | trim }}|{{ (c ~ 'a' ~ c).strip() }}|{{ (c ~ 'a' ~ c).lstrip() }}|{{ (c ~ 'a' ~ c).rstrip() }}|{{ c.isspace() }}{% endfor %}",
    "{% for c in x %}{{ c is lower }}{{ ('A' ~ c) is upper }}{{ ('a' ~ c) is lower }}{{ c is upper }}{{ (c ~ 'b').split() }}{% endfor %}",
]


def every_character():
    """Ranges of assigned code points, but NUL and surrogates."""
    ranges = []
    for point in range(1, 0x110000):
        if unicodedata.category(chr(point)) in ("Cn", "Cs", "Co"):
            continue
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    return ranges


def hash_of(template, ranges):
    points = [point for first, last in ranges for point in range(first, last + 1)]
    value = 0xCBF29CE484222325
    for at in range(0, len(points), CHUNK):
        text = render_jinja_template([[]], chat_template=template, x="".join(map(chr, points[at : at + CHUNK])))[0][0]
        for byte in text.encode():
            value = ((value ^ byte) * 0x100000001B3) & (2**64 - 1)
    return "%016x" % value


cases = [{"template": template, "rendered": render(template)} for template in TEMPLATES]
ranges = every_character()
every = [[template, hash_of(template, ranges)] for template in EVERY]
json.dump({"variables": VARIABLES, "cases": cases, "chunk": CHUNK, "ranges": ranges, "every": every}, sys.stdout, separators=(",", ":"))
print()
