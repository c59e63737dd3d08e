#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Jobs, snapshots, bitmaps and transactions under QMP: ours and the installed QEMU's answers.

One list of commands runs in both; what each answers must be the same, but for progress and times.
Then the images that were made must compare equal and check clean.

usage: qmp_jobs_test.py PROGRAM IMG [QEMU]       (TAP; skips without QEMU 7.2)
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile

VOLATILE = {'current-progress', 'total-progress', 'offset', 'len', 'busy', 'date-sec', 'date-nsec',
            'vm-clock-sec', 'vm-clock-nsec', 'idle_time_ns', 'node-name'}

NO_CLOCK = 'Unable to get accurate CPU usage'


class NoClock(Exception):
    """The host's clock of processor time is too coarse for QEMU."""


class Qmp:
    def __init__(self, program, folder):
        self.p = subprocess.Popen(
            [program, '-M', 'none', '-display', 'none', '-nodefaults', '-S', '-qmp', 'stdio',
             '-drive', 'if=none,id=d0,driver=qcow2,node-name=b,file.driver=file,'
             'file.filename=b.qcow2'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            cwd=folder)
        self.events = []
        self.read()
        self.run('qmp_capabilities')

    def read(self):
        while True:
            line = self.p.stdout.readline()
            if not line:
                raise EOFError(f'the program has ended with status {self.p.wait()}')
            if line[0] == '{':
                return json.loads(line)

    def run(self, command, **args):
        args = {k.replace('_', '-'): v for k, v in args.items()}
        self.p.stdin.write(json.dumps({'execute': command, 'arguments': args}) + '\n')
        self.p.stdin.flush()
        while True:
            message = self.read()
            if 'event' not in message:
                return message.get('return', message.get('error'))
            self.events.append(message)

    def wait(self, name, status=None):
        def is_it(e):
            return e['event'] == name and (not status or e['data']['status'] == status)
        while not any(is_it(e) for e in self.events):
            self.events.append(self.read())
        self.events = []

    def create(self, **args):
        """Run a job blockdev-create and tell how it ended.

        QEMU measures processor time to choose the work of a LUKS key; on some hosts it cannot.
        """
        for _ in range(10):
            self.run('blockdev-create', job_id='cr', **args)
            self.wait('JOB_STATUS_CHANGE', 'concluded')
            jobs = self.run('query-jobs')
            self.run('job-dismiss', id='cr')
            if NO_CLOCK not in json.dumps(jobs):
                return jobs
        raise NoClock

    def end(self):
        self.p.kill()
        self.p.wait()


def file(name):
    return {'driver': 'file', 'filename': name}


def qcow2(name, **more):
    return dict({'driver': 'qcow2', 'node-name': name, 'file': file(name + '.qcow2')}, **more)


def action(kind, **data):
    return {'type': kind, 'data': {k.replace('_', '-'): v for k, v in data.items()}}


def steps(do, wait):
    def gone():
        wait('JOB_STATUS_CHANGE', 'null')

    do('query-blockstats', sort=True, query_nodes=True)
    for command, key in (('job-pause', 'id'), ('job-cancel', 'id'), ('block-job-pause', 'device'),
                         ('block-job-dismiss', 'id')):
        do(command, **{key: 'nope'})
    for args in ({'device': 'nope'}, {'device': 'b', 'job_id': '9'}, {'device': 'b', 'base': 'zz'},
                 {'device': 'b', 'base_node': 'zz'}, {'device': 'b', 'speed': -1}):
        do('block-stream', **dict({'job_id': 'j'}, **args))
    do('blockdev-snapshot-sync', node_name='b', snapshot_file='s1.qcow2', snapshot_node_name='s1')
    do('blockdev-snapshot-sync', node_name='s1', snapshot_file='s2.qcow2')
    do('blockdev-snapshot-sync', node_name='s1', snapshot_file='s2.qcow2', snapshot_node_name='b')
    do('blockdev-snapshot-sync', device='zz', snapshot_file='s2.qcow2')
    for args in ({'name': 'p0', 'persistent': True}, {'name': 't0', 'granularity': 65536},
                 {'name': 't0'}, {'name': 'x', 'granularity': 1000}):
        do('block-dirty-bitmap-add', node='s1', **args)
    do('block-dirty-bitmap-merge', node='s1', target='t0', bitmaps=['p0', {'node': 's1',
                                                                          'name': 'no'}])
    do('block_resize', node_name='s1', size=32 << 20)
    do('block_resize', node_name='s1', size=16 << 20)
    do('block_resize', size=1)
    for _ in range(2):
        do('blockdev-snapshot-internal-sync', device='s1', name='snap0')
    for _ in range(2):
        do('blockdev-snapshot-delete-internal-sync', device='s1', name='snap0')
    do('drive-backup', device='s1', job_id='db', target='bk.qcow2', sync='top', format='qcow2')
    gone()
    do('drive-mirror', device='s1', job_id='dm', target='m1.qcow2', sync='top', format='qcow2',
       node_name='m1')
    wait('BLOCK_JOB_READY')
    for command in ('job-finalize', 'job-dismiss', 'job-complete'):
        do(command, id='dm')
    gone()
    for name in ('e', 'f', 'g'):
        do('blockdev-add', **qcow2(name))
    do('block-dirty-bitmap-add', node='e', name='i0')
    do('transaction', actions=[
        action('blockdev-snapshot-sync', node_name='e', snapshot_file='e1.qcow2',
               snapshot_node_name='e1'),
        action('block-dirty-bitmap-add', node='f', name='x'), action('abort')])
    do('block-dirty-bitmap-clear', node='f', name='x')
    do('transaction', actions=[action('block-dirty-bitmap-add', node='e', name='q')],
       properties={'completion-mode': 'grouped'})
    for args in ({'sync': 'incremental'}, {'sync': 'full', 'bitmap': 'i0'},
                 {'sync': 'full', 'bitmap-mode': 'never'}, {'sync': 'bitmap', 'bitmap': 'no',
                                                            'bitmap-mode': 'never'}):
        do('blockdev-backup', device='e', target='f', job_id='b', **args)
    do('transaction', actions=[action('blockdev-backup', device='e', target='f', sync='full',
                                      job_id='tb', bitmap='i0', bitmap_mode='always',
                                      auto_dismiss=False)],
       properties={'completion-mode': 'grouped'})
    wait('JOB_STATUS_CHANGE', 'concluded')
    do('query-jobs')
    do('block-job-dismiss', id='tb')
    do('blockdev-mirror', device='e', job_id='m', target='e', sync='full')
    do('blockdev-mirror', device='e', job_id='m', target='f', sync='incremental')
    do('blockdev-mirror', device='e', job_id='m', target='f', sync='full', granularity=3)
    do('blockdev-mirror', device='e', job_id='m', target='f', sync='full')
    wait('BLOCK_JOB_READY')
    do('query-block-jobs')
    do('blockdev-del', node_name='e')
    do('block-job-cancel', device='m')
    gone()
    do('blockdev-reopen', options=[qcow2('e', **{'read-only': True})])
    do('blockdev-reopen', options=[qcow2('e', discard='unmap')])
    for node, driver in (('zz', 'luks'), ('e', 'luks'), ('e', 'raw')):
        do('x-blockdev-amend', job_id='am', node_name=node,
           options=dict({'driver': driver}, **({'state': 'inactive'} if driver == 'luks' else {})))
    do('x-blockdev-amend', job_id='am', node_name='e', options={'driver': 'qcow2'})
    wait('JOB_STATUS_CHANGE', 'concluded')
    do('query-jobs')
    do('job-dismiss', id='am')
    do('blockdev-snapshot', node='e', overlay='zz')
    do('blockdev-snapshot', node='e', overlay='g')
    do('blockdev-del', node_name='e')
    do('block-commit', device='m1', job_id='c', base_node='f')
    do('block-commit', device='m1', job_id='c', auto_finalize=False)
    wait('BLOCK_JOB_READY')
    do('job-complete', id='c')
    wait('BLOCK_JOB_PENDING')
    do('job-finalize', id='c')
    gone()
    do('blockdev-create', job_id='cr', options={'driver': 'file', 'filename': 'n.img',
                                                'size': 1 << 20})
    wait('JOB_STATUS_CHANGE', 'concluded')
    do('query-jobs')
    do('job-dismiss', id='cr')
    create_formats(do, wait)
    do('block-set-write-threshold', node_name='f', write_threshold=4096)
    do('block-set-write-threshold', node_name='zz', write_threshold=4096)


# Names of files and nodes are N-FORMAT.
CREATE = [
    ('0', 'qcow2', {}),
    ('1', 'qcow2', {'version': 'v2', 'cluster-size': 4096, 'preallocation': 'metadata'}),
    ('2', 'qcow2', {'extended-l2': True, 'lazy-refcounts': True, 'compression-type': 'zstd',
                    'refcount-bits': 8}),
    ('3', 'qcow2', {'backing-file': 'e.qcow2', 'backing-fmt': 'qcow2'}),
    ('4', 'qcow2', {'encrypt': {'format': 'luks', 'key-secret': 's', 'iter-time': 10}}),
    ('5', 'qcow2', {'encrypt': {'format': 'luks', 'key-secret': 'zz', 'iter-time': 10}}),
    ('6', 'qcow2', {'data-file': 'data', 'data-file-raw': True}),
    ('7', 'qcow2', {'version': 'v2', 'refcount-bits': 8}),
    ('8', 'luks', {'key-secret': 's', 'iter-time': 10, 'cipher-alg': 'aes-128'}),
    ('9', 'luks', {}),
    ('a', 'vdi', {'preallocation': 'metadata'}),
    ('b', 'vhdx', {'block-size': 1 << 20, 'log-size': 1 << 20, 'subformat': 'fixed'}),
    ('c', 'vmdk', {'subformat': 'streamOptimized', 'adapter-type': 'lsilogic'}),
    ('d', 'vmdk', {'hwversion': '6'}),
    ('e', 'vpc', {'subformat': 'dynamic', 'force-size': True}),
    ('f', 'vpc', {'subformat': 'fixed'}),
]


def create_formats(do, wait):
    do('object-add', qom_type='secret', id='s', data='password')
    for n in [n + '.img' for n, _, _ in CREATE] + ['data.img']:
        do('blockdev-create', job_id='cr', options={'driver': 'file', 'filename': n, 'size': 0})
        wait('JOB_STATUS_CHANGE', 'concluded')
        do('job-dismiss', id='cr')
        do('blockdev-add', node_name=('n' if n != 'data.img' else '') + n[:-4], **file(n))
    for n, driver, more in CREATE:
        do('create', options=dict({'driver': driver, 'file': 'n' + n, 'size': 8 << 20}, **more))
        do('blockdev-del', node_name='n' + n)


def strip(value, keys=frozenset(VOLATILE)):
    if isinstance(value, dict):
        return {k: strip(v, keys) for k, v in value.items() if k not in keys}
    return [strip(v, keys) for v in value] if isinstance(value, list) else value


def answers(program, img, folder):
    for name in ('a', 'e', 'f', 'g'):
        subprocess.run([img, 'create', '-q', '-f', 'qcow2', name + '.qcow2', '16M'], cwd=folder,
                       check=True)
    subprocess.run([img, 'create', '-q', '-f', 'qcow2', '-b', 'a.qcow2', '-F', 'qcow2', 'b.qcow2'],
                   cwd=folder, check=True)
    q = Qmp(program, folder)
    out = []
    try:
        def do(command, sort=False, **args):
            ask = q.create if command == 'create' else lambda **a: q.run(command, **a)
            answer = strip(ask(**args))
            if sort:
                answer.sort(key=lambda x: json.dumps(x, sort_keys=True))
            out.append((command, args, answer))
        steps(do, q.wait)
        q.run('quit')
    finally:
        q.end()
    return out


def info(img, driver, name, folder):
    """What the image says of itself, without what is random in it."""
    p = subprocess.run([img, 'info', '--output=json', '-f', driver, name], cwd=folder, check=False,
                       capture_output=True, text=True)
    out = strip(json.loads(p.stdout)) if p.returncode == 0 else p.returncode
    return out if p.returncode else strip(out, {'uuid', 'cid', 'parent-cid', 'actual-size',
                                                'master-key-iters', 'iters', 'filename'})


def main():
    program, img = sys.argv[1], sys.argv[2]
    qemu = sys.argv[3] if len(sys.argv) > 3 else '/usr/bin/qemu-system-x86_64'
    if not shutil.which(qemu) or b'version 7.2' not in subprocess.run(
            [qemu, '--version'], stdout=subprocess.PIPE, check=True).stdout:
        print('1..0 # SKIP no QEMU 7.2')
        return 0
    img = os.path.abspath(img)
    number = bad = 0
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        mine = answers(os.path.abspath(program), img, ours)
        try:
            other = answers(qemu, img, theirs)
        except NoClock:
            print('1..0 # SKIP QEMU: ' + NO_CLOCK)
            return 0
        except (EOFError, BrokenPipeError) as error:
            print(f'1..0 # SKIP QEMU: {error}')
            return 0
        for a, b in zip(mine, other):
            number += 1
            same = a[2] == b[2]
            bad += not same
            print('%sok %d - %s %s' % ('' if same else 'not ', number, a[0], json.dumps(a[1])[:70]))
            if not same:
                print('# ours:   %s\n# theirs: %s' % (json.dumps(a[2]), json.dumps(b[2])))
        for n, driver, _ in (c for c in CREATE if c[0] != '5'):
            number += 1
            a, b = (info(img, driver, n + '.img', folder) for folder in (ours, theirs))
            bad += a != b
            print('%sok %d - %s is the same image' % ('' if a == b else 'not ', number, n))
            if a != b:
                print('# ours:   %s\n# theirs: %s' % (json.dumps(a), json.dumps(b)))
        for name in sorted(n for n in os.listdir(ours) if n.endswith('.qcow2')):
            number += 1
            r = subprocess.run([img, 'check', os.path.join(ours, name)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.STDOUT, check=False)
            bad += r.returncode != 0
            print('%sok %d - %s checks clean' % ('not ' if r.returncode else '', number, name))
    print('1..%d' % number)
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
