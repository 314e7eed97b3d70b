/** Where widgets have their place: in JupyterLab, and on the pages of Notebook 7. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { PageConfig } from '@jupyterlab/coreutils';
import { TabPanel, type Widget } from '@lumino/widgets';

/**
 * Add the panel to the left side bar. The tree page of Notebook 7 has no side bars: there it
 * becomes a tab, next to *Files* and *Running*.
 */
export function addPanel(app: JupyterFrontEnd, panel: Widget, label: string): void {
  if (PageConfig.getOption('notebookPage') !== 'tree') {
    app.shell.add(panel, 'left', { rank: 450, type: 'Executions' });
    return;
  }
  panel.title.label = label;
  void app.restored.then(() => tabsOf(app)?.addWidget(panel));
}

/**
 * Add a widget to the main area. A page of Notebook 7 shows one document there: the widget goes to
 * the right side bar, or becomes a tab of the tree page.
 */
export function addToMain(app: JupyterFrontEnd, widget: Widget): void {
  switch (PageConfig.getOption('notebookPage')) {
    case '':
      app.shell.add(widget, 'main');
      break;
    case 'tree':
      tabsOf(app)?.addWidget(widget);
      break;
    default:
      app.shell.add(widget, 'right');
  }
}

/** Show a widget that one of the functions above has added. */
export function reveal(app: JupyterFrontEnd, widget: Widget): void {
  const tabs = tabsOf(app);
  if (tabs?.widgets.includes(widget)) {
    tabs.currentWidget = widget;
  } else {
    app.shell.activateById(widget.id);
  }
}

/** Return the tabs of the tree page; `null` on other pages. */
function tabsOf(app: JupyterFrontEnd): TabPanel | null {
  for (const widget of app.shell.widgets('main')) {
    if (widget instanceof TabPanel) {
      return widget;
    }
  }
  return null;
}
