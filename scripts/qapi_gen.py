#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""From the QAPI schema to C types, tables, prototypes, introspection and the manual.

The schema language is QEMU's: `{ 'command': ..., 'data': ... }` with # comments and ## doc blocks.
Outputs (into --output DIR):
  qapi_types.h/.c     C types, enum words, the tables that qapi/marshal.c interprets, events
  qapi_commands.h/.c  prototypes of qmp_*() and the dispatch table
  qapi_schema.c       the answer to query-qmp-schema, ready made
  qmp-reference.md    the manual

A command with 'gen': false gets its arguments as the JSON dict they came as, unchecked: they are
properties that the schema does not know.  Our extension 'x-raw': true hands over the dict too, but
after checking it against the schema.  'x-raw-return': true: the function makes the JSON of the
answer itself.
"""
import argparse
import json
import os
import re
import sys

BUILTINS = {
    # name: (C type, kind, size, introspected name, json type)
    'str': ('char *', 'QAPI_STR', 'sizeof(char *)', 'str', 'string'),
    'int': ('int64_t ', 'QAPI_INT', '8', 'int', 'int'),
    'int8': ('int8_t ', 'QAPI_INT', '1', 'int', 'int'),
    'int16': ('int16_t ', 'QAPI_INT', '2', 'int', 'int'),
    'int32': ('int32_t ', 'QAPI_INT', '4', 'int', 'int'),
    'int64': ('int64_t ', 'QAPI_INT', '8', 'int', 'int'),
    'uint8': ('uint8_t ', 'QAPI_UINT', '1', 'int', 'int'),
    'uint16': ('uint16_t ', 'QAPI_UINT', '2', 'int', 'int'),
    'uint32': ('uint32_t ', 'QAPI_UINT', '4', 'int', 'int'),
    'uint64': ('uint64_t ', 'QAPI_UINT', '8', 'int', 'int'),
    'size': ('uint64_t ', 'QAPI_UINT', '8', 'int', 'int'),
    'number': ('double ', 'QAPI_NUMBER', 'sizeof(double)', 'number', 'number'),
    'bool': ('bool ', 'QAPI_BOOL', 'sizeof(bool)', 'bool', 'boolean'),
    'any': ('Json *', 'QAPI_ANY', 'sizeof(Json *)', 'any', 'value'),
    'null': ('char ', 'QAPI_NULL', '1', 'null', 'null'),
}
RESERVED = set('''auto break case char const continue default do double else enum extern float for
goto if int long register return short signed sizeof static struct switch typedef union unsigned
void volatile while inline restrict unix linux i386 errno bool'''.split())
HEAD = ('/* SPDX-License-Identifier: MIT */\n'
        '/* Made by scripts/qapi_gen.py from qapi/schema.json; do not edit. */\n')


class SchemaError(Exception):
    pass


# ---- reading -------------------------------------------------------------------------------

TOKEN = re.compile(r"""\s+|(?P<doc>^\#\#\n(?:\#.*\n)*?\#\#\n)|\#.*|(?P<punct>[\[\]{}:,])"""
                   r"""|'(?P<str>[^'\n]*)'|(?P<word>true|false)""", re.M)


def tokens(path):
    text = open(path, encoding='utf-8').read()
    at = 0
    while at < len(text):
        m = TOKEN.match(text, at)
        if not m:
            line = text.count('\n', 0, at) + 1
            raise SchemaError('%s:%d: unexpected %r' % (path, line, text[at:at + 20]))
        if m.group('doc') is not None:
            yield 'doc', m.group('doc')
        elif m.group('punct'):
            yield 'punct', m.group('punct')
        elif m.group('str') is not None:
            yield 'str', m.group('str')
        elif m.group('word'):
            yield 'word', m.group('word') == 'true'
        at = m.end()


class Reader:
    def __init__(self, path):
        self.path = path
        self.toks = list(tokens(path))
        self.at = 0

    def next(self):
        if self.at == len(self.toks):
            raise SchemaError('%s: unexpected end' % self.path)
        self.at += 1
        return self.toks[self.at - 1]

    def want(self, text):
        kind, value = self.next()
        if kind != 'punct' or value != text:
            raise SchemaError('%s: expected %r, got %r' % (self.path, text, value))

    def value(self):
        kind, value = self.next()
        if kind in ('str', 'word'):
            return value
        if value == '[':
            return self.sequence(']', self.value)
        if value == '{':
            return dict(self.sequence('}', self.pair))
        raise SchemaError('%s: unexpected %r' % (self.path, value))

    def sequence(self, end, item):
        out = []
        if self.toks[self.at] == ('punct', end):
            self.at += 1
            return out
        while True:
            out.append(item())
            kind, value = self.next()
            if (kind, value) == ('punct', end):
                return out
            if value != ',':
                raise SchemaError("%s: expected ',' or %r, got %r" % (self.path, end, value))

    def pair(self):
        key = self.next()[1]
        self.want(':')
        return key, self.value()

    def expressions(self):
        doc = ''
        while self.at < len(self.toks):
            if self.toks[self.at][0] == 'doc':
                doc = self.next()[1]
                continue
            yield self.value(), doc
            doc = ''


# ---- the model -----------------------------------------------------------------------------

def c_name(name):
    c = re.sub(r'[^A-Za-z0-9_]', '_', name)
    return 'q_' + c if c in RESERVED or c[0].isdigit() else c


def upper(name):
    s = re.sub(r'([a-z0-9])([A-Z])', r'\1_\2', name)
    s = re.sub(r'([A-Z])([A-Z][a-z])', r'\1_\2', s)
    return re.sub(r'[^A-Za-z0-9]', '_', s).upper()


class Member:
    def __init__(self, name, spec):
        self.optional = name.startswith('*')
        self.name = name.lstrip('*')
        self.features = []
        if isinstance(spec, dict):
            self.features = spec.get('features', [])
            spec = spec['type']
        self.type = spec
        self.c = c_name(self.name)


class Type:
    def __init__(self, kind, name):
        self.kind, self.name = kind, name
        self.members, self.values, self.branches, self.alts = [], [], {}, []
        self.tag, self.features, self.value_features, self.doc = None, [], {}, ''
        self.c = 'Qapi' + name if not name.endswith('Args') or not name.startswith('Qmp') else name


class Schema:
    def __init__(self, path):
        self.types, self.commands, self.events, self.sections = {}, {}, {}, []
        self.seen = set()
        self.load(path)
        self.check()

    def load(self, path):
        path = os.path.normpath(path)
        if path in self.seen:
            return
        self.seen.add(path)
        for expr, doc in Reader(path).expressions():
            if 'include' in expr:
                self.load(os.path.join(os.path.dirname(path), expr['include']))
                continue
            for meta in ('enum', 'struct', 'union', 'alternate', 'command', 'event'):
                if meta in expr:
                    getattr(self, 'add_' + meta)(expr[meta], expr, doc)
                    break
            else:
                raise SchemaError('%s: unknown expression %s' % (path, expr))

    def add_type(self, t, doc):
        if t.name in self.types or t.name in BUILTINS:
            raise SchemaError('type %s is defined twice' % t.name)
        t.doc = doc
        self.types[t.name] = t
        self.sections.append(t)

    def add_enum(self, name, expr, doc):
        t = Type('enum', name)
        for v in expr['data']:
            if isinstance(v, dict):
                t.value_features[v['name']] = v.get('features', [])
                v = v['name']
            t.values.append(v)
        self.add_type(t, doc)

    def members(self, data):
        return [Member(k, v) for k, v in data.items()]

    def add_struct(self, name, expr, doc):
        t = Type('struct', name)
        if 'base' in expr:
            t.members += self.types[expr['base']].members
        t.members += self.members(expr['data'])
        t.features = expr.get('features', [])
        self.add_type(t, doc)

    def add_union(self, name, expr, doc):
        t = Type('union', name)
        base = expr['base']
        t.members = (list(self.types[base].members) if isinstance(base, str)
                     else self.members(base))
        t.tag = expr['discriminator']
        t.branches = expr['data']
        t.features = expr.get('features', [])
        self.add_type(t, doc)

    def add_alternate(self, name, expr, doc):
        t = Type('alternate', name)
        t.alts = list(expr['data'].items())
        self.add_type(t, doc)

    def implicit(self, name, expr):
        data = expr.get('data', {})
        if isinstance(data, str):
            return data
        if not data:
            return None
        t = Type('struct', name)
        t.members = self.members(data)
        t.implicit = True
        self.types[name] = t
        return name

    def add_command(self, name, expr, doc):
        expr['doc'] = doc
        expr['arg'] = self.implicit('Qmp' + camel(name) + 'Args', expr)
        self.commands[name] = expr

    def add_event(self, name, expr, doc):
        expr['doc'] = doc
        expr['arg'] = self.implicit('Qmp' + camel(name.lower()) + 'EventArgs', expr)
        self.events[name] = expr

    def known(self, t, where):
        if isinstance(t, list):
            t = t[0]
        if t not in BUILTINS and t not in self.types:
            raise SchemaError('%s: unknown type %s' % (where, t))

    def check(self):
        for t in self.types.values():
            for m in t.members:
                self.known(m.type, t.name + '.' + m.name)
            for v, b in t.branches.items():
                self.known(b, t.name)
                tag = next(m for m in t.members if m.name == t.tag)
                if v not in self.types[tag.type].values:
                    raise SchemaError('%s: no value %s of %s' % (t.name, v, tag.type))
            for _, b in t.alts:
                self.known(b, t.name)
        for name, e in list(self.commands.items()) + list(self.events.items()):
            for ref in (e['arg'], e.get('returns')):
                if ref:
                    self.known(ref, name)


def camel(name):
    return ''.join(p[:1].upper() + p[1:] for p in re.split(r'[-_]', name))


# ---- C types -------------------------------------------------------------------------------

class CTypes:
    def __init__(self, schema):
        self.s = schema
        self.lists = {}

    def is_pointer(self, t):
        return isinstance(t, list) or t in ('str', 'any') or (
            t in self.s.types and self.s.types[t].kind != 'enum')

    def decl(self, t):
        if isinstance(t, list):
            return 'GPtrArray *' if self.is_pointer(t[0]) else 'GArray *'
        if t in BUILTINS:
            return BUILTINS[t][0]
        q = self.s.types[t]
        return q.c + (' ' if q.kind == 'enum' else ' *')

    def ref(self, t):
        if isinstance(t, list):
            name = 'qapi_type_list_' + c_name(self.ident(t[0]))
            self.lists[name] = t[0]
            return '&' + name
        return '&qapi_type_' + self.ident(t)

    def ident(self, t):
        if isinstance(t, list):
            return 'list_' + self.ident(t[0])
        return t if t in BUILTINS else self.s.types[t].c


def element_note(t):
    return '   /* of %s */' % t[0] if isinstance(t, list) else ''


def struct_body(ct, t):
    out = []
    for m in t.members:
        if m.optional and not ct.is_pointer(m.type):
            out.append('    bool has_%s;' % m.c.removeprefix('q_'))
        out.append('    %s%s;%s' % (ct.decl(m.type), m.c, element_note(m.type)))
    if t.kind == 'union':
        out.append('    union {               /* by %s; NULL when the branch is empty */' % c_name(t.tag))
        out.append('        void *any;')
        for v, b in t.branches.items():
            out.append('        %s%s;' % (ct.decl(b), c_name(v)))
        out.append('    } u;')
    if not out:
        out.append('    char empty;')
    return out


def gen_types_h(s, ct):
    out = [HEAD, '#ifndef QAPI_TYPES_H', '#define QAPI_TYPES_H', '', '#include "qapi/qapi.h"', '']
    for t in s.types.values():
        if t.kind == 'enum':
            pre = 'QAPI_' + upper(t.name)
            out.append('typedef enum %s {' % t.c)
            out += ['    %s_%s,' % (pre, upper(v)) for v in t.values]
            out += ['    %s__COUNT' % pre, '} %s;' % t.c,
                    'extern const char *const qapi_words_%s[];' % t.c, '']
        else:
            out.append('typedef struct %s %s;' % (t.c, t.c))
    out.append('')
    for t in s.types.values():
        if t.kind == 'enum':
            out.append('extern const QapiType qapi_type_%s;' % t.c)
            continue
        out.append('struct %s {' % t.c)
        if t.kind == 'alternate':
            out.append('    int kind;                 /* index of the alternative */')
            out.append('    union {')
            for n, b in t.alts:
                out.append('        %s%s;' % (ct.decl(b), c_name(n)))
            out.append('    } u;')
        else:
            out += struct_body(ct, t)
        out += ['};', 'extern const QapiType qapi_type_%s;' % t.c]
        out += ['static inline void qapi_free_%s(%s *p)' % (t.c, t.c), '{',
                '    qapi_free(&qapi_type_%s, p);' % t.c, '}',
                'G_DEFINE_AUTOPTR_CLEANUP_FUNC(%s, qapi_free_%s)' % (t.c, t.c), '']
        if t.kind == 'alternate':
            out += ['enum { %s };' % ', '.join(
                'QAPI_%s_IS_%s' % (upper(t.name), upper(n)) for n, _ in t.alts), '']
    for name, e in s.events.items():
        out.append(event_proto(s, ct, name, e) + ';')
    out += ['', '#endif', '']
    return '\n'.join(out)


def event_proto(s, ct, name, e):
    params = []
    if e['arg'] and e.get('boxed'):
        params.append('const %s *arg' % s.types[e['arg']].c)
    elif e['arg']:
        for m in s.types[e['arg']].members:
            if m.optional and not ct.is_pointer(m.type):
                params.append('bool has_' + m.c.removeprefix('q_'))
            d = ct.decl(m.type)
            params.append(('const ' if d == 'char *' else '') + d + m.c)
    return 'void qapi_event_%s(%s)' % (name.lower(), ', '.join(params) or 'void')


def gen_types_c(s, ct):
    out = [HEAD, '#include "qapi/qapi_types.h"', '']
    rows = []
    for t in s.types.values():
        if t.kind == 'enum':
            rows.append('const char *const qapi_words_%s[] = {' % t.c)
            rows += ['    "%s",' % v for v in t.values]
            rows += ['    NULL', '};',
                     'const QapiType qapi_type_%s = {' % t.c,
                     '    .name = "%s", .kind = QAPI_ENUM, .size = sizeof(%s),' % (t.name, t.c),
                     '    .values = qapi_words_%s,' % t.c, '};', '']
        elif t.kind == 'alternate':
            rows.append('static const QapiType *const alts_%s[] = {' % t.c)
            rows += ['    %s,' % ct.ref(b) for _, b in t.alts]
            rows += ['    NULL', '};',
                     'const QapiType qapi_type_%s = {' % t.c,
                     '    .name = "%s", .kind = QAPI_ALTERNATE, .size = sizeof(%s),' % (t.name, t.c),
                     '    .union_offset = offsetof(%s, u), .branches = alts_%s,' % (t.c, t.c),
                     '};', '']
        else:
            rows += struct_table(s, ct, t)
    for e in list(s.commands.values()):
        if 'returns' in e:
            ct.ref(returned(e))
    decl = []
    for name in sorted(ct.lists):
        el = ct.lists[name]
        ct.ref(el)
        decl.append('extern const QapiType %s;' % name)
    for name in sorted(ct.lists):
        el = ct.lists[name]
        kind = 'QAPI_LIST' if ct.is_pointer(el) else 'QAPI_SCALAR_LIST'
        rows += ['const QapiType %s = {' % name,
                 '    .name = "list", .kind = %s, .size = sizeof(void *),' % kind,
                 '    .element = %s,' % ct.ref(el), '};']
    out += decl + [''] + rows
    for name, e in s.events.items():
        out += gen_event(s, ct, name, e)
    return '\n'.join(out) + '\n'


def struct_table(s, ct, t):
    rows = []
    if t.members:
        rows.append('static const QapiMember members_%s[] = {' % t.c)
        for m in t.members:
            row = '    { "%s", %s, offsetof(%s, %s)' % (m.name, ct.ref(m.type), t.c, m.c)
            if m.optional:
                row += ', .optional = true'
                if not ct.is_pointer(m.type):
                    row += ', .has_flag = true, .flag_offset = offsetof(%s, has_%s)' % (
                        t.c, m.c.removeprefix('q_'))
            rows.append(row + ' },')
        rows.append('};')
    if t.kind == 'union':
        tag = next(m for m in t.members if m.name == t.tag)
        rows.append('static const QapiType *const branches_%s[] = {' % t.c)
        for v in s.types[tag.type].values:
            rows.append('    %s,' % (ct.ref(t.branches[v]) if v in t.branches else 'NULL'))
        rows.append('};')
    rows += ['const QapiType qapi_type_%s = {' % t.c,
             '    .name = "%s", .kind = QAPI_STRUCT, .size = sizeof(%s),' % (t.name, t.c)]
    if t.members:
        rows.append('    .members = members_%s, .member_count = G_N_ELEMENTS(members_%s),' % (t.c, t.c))
    if t.kind == 'union':
        rows.append('    .branches = branches_%s, .tag = %d, .union_offset = offsetof(%s, u),' % (
            t.c, [m.name for m in t.members].index(t.tag), t.c))
    return rows + ['};', '']


def gen_event(s, ct, name, e):
    out = ['', event_proto(s, ct, name, e), '{']
    if not e['arg']:
        out.append('    qapi_event_emit("%s", NULL);' % name)
    elif e.get('boxed'):
        out.append('    qapi_event_emit("%s", qapi_to_json(&qapi_type_%s, arg));' % (
            name, s.types[e['arg']].c))
    else:
        t = s.types[e['arg']]
        out.append('    %s arg = {' % t.c)
        for m in t.members:
            if m.optional and not ct.is_pointer(m.type):
                has = 'has_' + m.c.removeprefix('q_')
                out.append('        .%s = %s,' % (has, has))
            cast = '(char *)' if m.type == 'str' else ''
            out.append('        .%s = %s%s,' % (m.c, cast, m.c))
        out += ['    };', '',
                '    qapi_event_emit("%s", qapi_to_json(&qapi_type_%s, &arg));' % (name, t.c)]
    return out + ['}']


# ---- commands ------------------------------------------------------------------------------

def raw(e):
    return e.get('x-raw') or e.get('gen') is False


def returned(e):
    return 'any' if e.get('x-raw-return') else e.get('returns')


def command_proto(s, ct, name, e):
    params = ['QmpCall *call']
    if e['arg']:
        params.append('const Json *args' if raw(e)
                      else 'const %s *args' % s.types[e['arg']].c)
    if 'returns' in e:
        params.append(ct.decl(returned(e)) + '*ret')
    params.append('GError **error')
    return 'bool qmp_%s(%s)' % (c_name(name), ', '.join(params))


def gen_commands_h(s, ct):
    out = [HEAD, '#ifndef QAPI_COMMANDS_H', '#define QAPI_COMMANDS_H', '',
           '#include "qapi/qapi_types.h"', '',
           '/* Each is defined beside its subsystem.  *RET belongs to the caller. */']
    out += [command_proto(s, ct, n, e) + ';' for n, e in sorted(s.commands.items())]
    out += ['', '/* Sorted by name. */', 'extern const QapiCommand qapi_commands[];',
            'extern const unsigned qapi_command_count;',
            '/* JSON text: the answer to query-qmp-schema. */',
            'extern const char qapi_schema_text[];',
            '', '#endif', '']
    return '\n'.join(out)


def gen_commands_c(s, ct):
    out = [HEAD, '#include "qapi/qapi_commands.h"', '']
    names = sorted(s.commands)
    for n in names:
        e = s.commands[n]
        args = ['call']
        if e['arg']:
            args.append('arg')
        if 'returns' in e:
            args.append('ret')
        args.append('error')
        out += ['static bool call_%s(QmpCall *call, const void *arg, void *ret, GError **error)' % c_name(n),
                '{', '    return qmp_%s(%s);' % (c_name(n), ', '.join(args)), '}', '']
    for n in names:
        ret = returned(s.commands[n])
        if isinstance(ret, list):
            ref = ct.ref(ret)[1:]
            line = 'extern const QapiType %s;' % ref
            if line not in out:
                out.append(line)
    out += ['', 'const QapiCommand qapi_commands[] = {']
    for n in names:
        e = s.commands[n]
        flags = [f for k, f in (('allow-oob', 'QAPI_ALLOW_OOB'),
                                ('allow-preconfig', 'QAPI_ALLOW_PRECONFIG'),
                                ('x-raw', 'QAPI_RAW_ARGS')) if e.get(k)]
        if e.get('gen') is False:
            flags.append('QAPI_OPEN_ARGS')
        out.append('    { "%s", call_%s, %s, %s, %s },' % (
            n, c_name(n), ct.ref(e['arg']) if e['arg'] else 'NULL',
            ct.ref(returned(e)) if 'returns' in e else 'NULL', ' | '.join(flags) or '0'))
    out += ['};', 'const unsigned qapi_command_count = G_N_ELEMENTS(qapi_commands);', '']
    return '\n'.join(out)


# ---- introspection -------------------------------------------------------------------------

class Introspection:
    """Type names are masked by numbers, as clients must not rely on them."""

    def __init__(self, s):
        self.s, self.ids, self.out, self.queue, self.arrays = s, {None: '0'}, [], [], set()

    def use(self, t):
        if isinstance(t, list):
            inner = self.use(t[0])
            name = '[' + inner + ']'
            if name not in self.arrays:
                self.arrays.add(name)
                self.out.append({'name': name, 'element-type': inner, 'meta-type': 'array'})
            return name
        if t in BUILTINS:
            name = BUILTINS[t][3]
            if name not in self.ids:
                self.ids[name] = name
                self.out.append({'name': name, 'json-type': BUILTINS[t][4],
                                 'meta-type': 'builtin'})
            return name
        if t not in self.ids:
            self.ids[t] = str(len([v for v in self.ids.values() if v.isdigit()]))
            self.queue.append(t)
        return self.ids[t]

    def member(self, m):
        d = {'name': m.name, 'type': self.use(m.type)}
        if m.optional:
            d['default'] = None
        if m.features:
            d['features'] = m.features
        return d

    def describe(self, t):
        d = {'name': self.ids[t.name], 'meta-type': 'object'}
        if t.kind == 'enum':
            members = [dict(name=v, **({'features': t.value_features[v]}
                                       if t.value_features.get(v) else {})) for v in t.values]
            d.update({'meta-type': 'enum', 'members': members, 'values': t.values})
        elif t.kind == 'alternate':
            d.update({'meta-type': 'alternate',
                      'members': [{'type': self.use(b)} for _, b in t.alts]})
        else:
            d['members'] = [self.member(m) for m in t.members]
            if t.kind == 'union':
                tag = next(m for m in t.members if m.name == t.tag)
                d['tag'] = t.tag
                d['variants'] = [{'case': v, 'type': self.use(t.branches.get(v))}
                                 for v in self.s.types[tag.type].values]
        if t.features:
            d['features'] = t.features
        return d

    def run(self):
        for n, e in self.s.commands.items():
            d = {'name': n, 'meta-type': 'command', 'arg-type': self.use(e['arg']),
                 'ret-type': self.use(e.get('returns'))}
            if e.get('allow-oob'):
                d['allow-oob'] = True
            if e.get('features'):
                d['features'] = e['features']
            self.out.append(d)
        for n, e in self.s.events.items():
            self.out.append({'name': n, 'meta-type': 'event', 'arg-type': self.use(e['arg'])})
        self.out.append({'name': '0', 'members': [], 'meta-type': 'object'})
        while self.queue:
            self.out.append(self.describe(self.s.types[self.queue.pop(0)]))
        return self.out


def gen_schema_c(s):
    text = json.dumps(Introspection(s).run())
    out = [HEAD, '#include "qapi/qapi_commands.h"', '', 'const char qapi_schema_text[] =']
    for i in range(0, len(text), 80):
        out.append('    "%s"' % text[i:i + 80].replace('\\', '\\\\').replace('"', '\\"'))
    return '\n'.join(out) + ';\n'


# ---- manual --------------------------------------------------------------------------------

def doc_text(doc):
    lines = [re.sub(r'^# ?', '', x) for x in doc.strip().split('\n')[1:-1]]
    while lines and (not lines[0].strip() or re.match(r'^@\S+:\s*$', lines[0])):
        lines.pop(0)
    return '\n'.join(re.sub(r'^@(\S+):', r'- **\1**:', x) for x in lines).strip()


def type_text(t):
    return 'array of ' + type_text(t[0]) if isinstance(t, list) else t


def manual_members(members):
    return ['- `%s`: %s%s' % (m.name, type_text(m.type), ' (optional)' if m.optional else '')
            for m in members]


def gen_manual(s):
    out = ['# QMP reference', '', '## Commands', '']
    for n, e in sorted(s.commands.items()):
        out += ['### ' + n, '', doc_text(e['doc']), '']
        if e['arg']:
            t = s.types[e['arg']]
            out += ['Arguments:' if hasattr(t, 'implicit') else 'Arguments: the members of ' + t.name]
            if hasattr(t, 'implicit'):
                out += [''] + manual_members(t.members)
            out.append('')
        if 'returns' in e:
            out += ['Returns: ' + type_text(e['returns']), '']
        if e.get('allow-oob'):
            out += ['May be executed out of band.', '']
    out += ['## Events', '']
    for n, e in sorted(s.events.items()):
        out += ['### ' + n, '', doc_text(e['doc']), '']
        if e['arg']:
            out += manual_members(s.types[e['arg']].members) + ['']
    out += ['## Types', '']
    for t in sorted(s.sections, key=lambda t: t.name):
        out += ['### %s (%s)' % (t.name, t.kind), '']
        text = doc_text(t.doc)
        if text:
            out += [text, '']
        if t.kind == 'enum':
            out += [', '.join('`%s`' % v for v in t.values), '']
        elif t.kind == 'alternate':
            out += ['- `%s`: %s' % (n, type_text(b)) for n, b in t.alts] + ['']
        else:
            out += manual_members(t.members)
            out += ['- the members of %s when `%s` is `%s`' % (b, t.tag, v)
                    for v, b in t.branches.items()] + ['']
    return '\n'.join(out)


def make_subset(s, ct, a):
    with open(a.subset, encoding='utf-8') as f:
        names = [x.split('#')[0].strip() for x in f]
    names = {x for x in names if x}
    unknown = names - set(s.commands) - set(s.events)
    if unknown:
        sys.exit('qapi_gen: %s: not in the schema: %s' % (a.subset, ', '.join(sorted(unknown))))
    s.commands = {n: e for n, e in s.commands.items() if n in names}
    s.events = {n: e for n, e in s.events.items() if n in names}
    base = os.path.splitext(os.path.basename(a.subset))[0]
    for name, text in (('commands', gen_commands_c(s, ct)), ('schema', gen_schema_c(s))):
        with open(os.path.join(a.output, '%s_%s.c' % (base, name)), 'w', encoding='utf-8') as f:
            f.write(text)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument('schema')
    ap.add_argument('--output', required=True)
    ap.add_argument('--subset', help='names of commands and events, one a line: only their table '
                                     'and their schema are made, as NAME_commands.c and '
                                     'NAME_schema.c of NAME.list')
    a = ap.parse_args()
    try:
        s = Schema(a.schema)
    except (SchemaError, KeyError) as e:
        sys.exit('qapi_gen: %s' % e)
    ct = CTypes(s)
    if a.subset:
        return make_subset(s, ct, a)
    for name, text in (('qapi_types.h', gen_types_h(s, ct)), ('qapi_types.c', gen_types_c(s, ct)),
                       ('qapi_commands.h', gen_commands_h(s, ct)),
                       ('qapi_commands.c', gen_commands_c(s, ct)),
                       ('qapi_schema.c', gen_schema_c(s)), ('qmp-reference.md', gen_manual(s))):
        with open(os.path.join(a.output, name), 'w', encoding='utf-8') as f:
            f.write(text)


if __name__ == '__main__':
    main()
