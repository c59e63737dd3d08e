#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""rhea-storage-daemon: nodes, an export and a job, under QMP; what it refuses.

Environment: RHEA_SYSTEM names rhea-system-x86_64; the other programs are beside it.  (TAP)
"""
import json
import os
import subprocess
import sys
import tempfile

BIN = os.path.dirname(os.environ.get('RHEA_SYSTEM', 'build/bin/rhea-system-x86_64'))
DAEMON = os.path.join(BIN, 'rhea-storage-daemon')
IMG = os.path.join(BIN, 'rhea-img')
IO = os.path.join(BIN, 'rhea-io')
number = 0


def ok(good, what, detail=''):
    global number
    number += 1
    print('%sok %d - %s' % ('' if good else 'not ', number, what))
    if not good:
        print('# ' + str(detail).replace('\n', '\n# '))


def run(*argv):
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=60)


class Daemon:
    def __init__(self, *options):
        self.p = subprocess.Popen([DAEMON, '--chardev', 'stdio,id=c', '--monitor', 'c', *options],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.events = []
        self.greeting = json.loads(self.p.stdout.readline())
        self.run('qmp_capabilities')

    def run(self, command, **args):
        args = {k.replace('_', '-'): v for k, v in args.items()}
        self.p.stdin.write(json.dumps({'execute': command, 'arguments': args}) + '\n')
        self.p.stdin.flush()
        while True:
            message = json.loads(self.p.stdout.readline())
            if 'event' not in message:
                return message
            self.events.append(message)

    def wait(self, event):
        while not any(e['event'] == event for e in self.events):
            self.events.append(json.loads(self.p.stdout.readline()))

    def quit(self):
        self.run('quit')
        self.p.stdin.close()
        return self.p.wait(30)


def test_export_and_mirror(folder):
    disk, copy, sock = (os.path.join(folder, n) for n in ('d.qcow2', 'c.qcow2', 'nbd.sock'))
    for path in (disk, copy):
        run(IMG, 'create', '-q', '-f', 'qcow2', path, '8M')
    d = Daemon('--object', 'throttle-group,id=tg,x-iops-total=100000',
               '--blockdev', 'driver=qcow2,node-name=disk,file.driver=file,file.filename=' + disk,
               '--blockdev', 'driver=throttle,node-name=top,throttle-group=tg,file=disk',
               '--blockdev', 'driver=qcow2,node-name=copy,file.driver=file,file.filename=' + copy,
               '--nbd-server', 'addr.type=unix,addr.path=' + sock,
               '--export', 'nbd,id=e0,node-name=top,name=x,writable=on')
    ok('QMP' in d.greeting, 'greets')
    url = 'nbd+unix:///x?socket=' + sock
    r = run(IO, '-f', 'raw', '-c', 'write -P 7 1M 2M', url)
    ok(r.returncode == 0, 'a client writes', r.stdout)
    r = d.run('blockdev-mirror', job_id='m', device='top', target='copy', sync='full')
    ok(r == {'return': {}}, 'a mirror starts', r)
    d.wait('BLOCK_JOB_READY')
    r = run(IO, '-f', 'raw', '-c', 'write -P 9 4M 64K', url)
    ok(r.returncode == 0, 'a client writes to a mirrored disk', r.stdout)
    d.run('job-complete', id='m')
    d.wait('BLOCK_JOB_COMPLETED')
    r = run(IO, '-f', 'raw', '-c', 'read -P 7 1M 2M', '-c', 'read -P 9 4M 64K',
            '-c', 'write -P 3 6M 64K', url)
    ok(r.returncode == 0, 'and goes on with the copy', r.stdout)
    r = d.run('blockdev-del', node_name='nope')
    ok('error' in r, 'refuses to delete what is not there', r)
    ok(d.quit() == 0, 'quits with 0')
    r = run(IO, '-f', 'qcow2', '-c', 'read -P 3 6M 64K', '-c', 'read -P 9 4M 64K', copy)
    ok(r.returncode == 0, 'the copy has it all', r.stdout)
    r = run(IO, '-f', 'qcow2', '-c', 'read -P 0 6M 64K', disk)
    ok(r.returncode == 0, 'the source was left alone', r.stdout)
    for path in (disk, copy):
        r = run(IMG, 'check', path)
        ok(r.returncode == 0, 'checks clean', r.stdout)


def test_objects():
    d = Daemon('--object', 'secret,id=s,data=abc', '--object', 'throttle-group,id=tg,limits.iops-total=10',
               '--blockdev', 'driver=throttle,node-name=top,throttle-group=tg,file.driver=null-co')
    names = {row['name'] for row in d.run('qom-list', path='/objects')['return']}
    ok(names == {'type', 's', 'tg'}, 'lists its objects', names)
    r = d.run('qom-set', path='/objects/tg', property='limits', value={'iops-total': 20})
    ok(r == {'return': {}}, 'changes limits', r)
    r = d.run('qom-get', path='/objects/tg', property='limits')
    ok(r.get('return', {}).get('iops-total') == 20, 'and tells them', r)
    r = d.run('qom-set', path='/objects/s', property='data', value='x')
    ok('error' in r, 'does not change a secret', r)
    names = {row['name'] for row in d.run('qom-list-types', implements='user-creatable')['return']}
    ok('iothread' in names and 'tls-creds' not in names, 'lists what can be made', names)
    names = {row['name'] for row in d.run('qom-list-properties', typename='throttle-group')['return']}
    ok('limits' in names, 'lists properties', names)
    r = d.run('object-del', id='tg')
    ok('in use' in r.get('error', {}).get('desc', ''), 'keeps a group that is in use', r)
    r = d.run('object-del', id='s')
    ok(r == {'return': {}}, 'deletes a secret', r)
    r = d.run('object-add', qom_type='iothread', id='tg')
    ok('error' in r, 'gives a name once', r)
    r = d.run('object-add', qom_type='memory-backend-ram', id='m', size=4096)
    ok('memory-backend-ram' in r.get('error', {}).get('desc', ''), 'refuses objects of machines', r)
    ok(d.quit() == 0, 'quits with 0')


def test_chardevs():
    d = Daemon()
    for what, data in (('null', {}), ('ringbuf', {'size': 64})):
        r = d.run('chardev-add', id=what, backend={'type': what, 'data': data})
        ok(r == {'return': {}}, 'adds a ' + what, r)
    d.run('ringbuf-write', device='ringbuf', data='hello')
    r = d.run('ringbuf-read', device='ringbuf', size=10)
    ok(r == {'return': 'hello'}, 'reads what was written', r)
    labels = {row['label'] for row in d.run('query-chardev')['return']}
    ok(labels == {'c', 'null', 'ringbuf'}, 'lists them', labels)
    r = d.run('chardev-remove', id='c')
    ok('busy' in r.get('error', {}).get('desc', ''), 'keeps the one of its monitor', r)
    r = d.run('chardev-change', id='null', backend={'type': 'ringbuf', 'data': {'size': 16}})
    ok(r == {'return': {}}, 'changes one', r)
    r = d.run('chardev-remove', id='null')
    ok(r == {'return': {}}, 'removes one', r)
    r = d.run('chardev-add', id='x', backend={'type': 'socket', 'data': {'addr': {'type': 'fd', 'data': {'str': 'no'}}}})
    ok("'no'" in r.get('error', {}).get('desc', ''), 'knows no descriptors by name', r)
    names = {row['name'] for row in d.run('query-chardev-backends')['return']}
    ok({'null', 'socket', 'ringbuf'} <= names, 'lists kinds', names)
    ok(d.quit() == 0, 'quits with 0')


def test_daemonize(folder):
    pid_file, sock = os.path.join(folder, 'pid'), os.path.join(folder, 'qmp.sock')
    r = run(DAEMON, '--daemonize', '--pidfile', pid_file, '--chardev',
            'socket,id=c,path=%s,server=on,wait=off' % sock, '--monitor', 'c')
    ok(r.returncode == 0, 'the parent exits when all is ready', r.stdout)
    with open(pid_file, encoding='ascii') as f:
        pid = int(f.read())
    r = run(DAEMON, '--pidfile', pid_file)
    ok(r.returncode == 1 and str(pid) in r.stdout, 'the pid file is locked', r.stdout)
    os.kill(pid, 15)
    for _ in range(1000):
        if not os.path.exists(pid_file):
            break
        select_nothing()
    ok(not os.path.exists(pid_file), 'and goes with the daemon')


def select_nothing():
    subprocess.run(['true'], check=True)


def test_refusals():
    for options, text in ((['--bogus'], 'bogus'), (['stray'], 'stray'),
                          (['--blockdev', 'driver=nope,node-name=a'], 'nope'),
                          (['--monitor', 'none'], 'none'),
                          (['--export', 'nbd,id=e,node-name=zz'], 'zz'),
                          (['--nbd-server', 'addr.type=inet'], 'host'),
                          (['--object', 'nope,id=x'], 'nope'),
                          (['--blockdev', 'driver=mirror_top,node-name=a,file.driver=null-co'],
                           'internal')):
        r = run(DAEMON, *options)
        ok(r.returncode == 1 and text in r.stdout and r.stdout.count('\n') == 1,
           'refuses ' + ' '.join(options), r.stdout)


def main():
    with tempfile.TemporaryDirectory() as folder:
        test_export_and_mirror(folder)
        test_daemonize(folder)
    test_objects()
    test_chardevs()
    test_refusals()
    print('1..%d' % number)


if __name__ == '__main__':
    sys.exit(main())
